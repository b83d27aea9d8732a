# link_fuzzer(TARGET NAME): link fuzz_NAME.c, as a fuzzer or as a replay. Fuzzers that call subcommands link the command line's
# objects; the fuzzer of the command line replaces its parser, so that no subcommand is executed.
function(link_fuzzer target name)
    if(name MATCHES "^(command_line|commands)$")
        target_link_libraries(${target} PRIVATE mep_cli_objects)
    endif()
    if(name STREQUAL "command_line")
        target_link_options(${target} PRIVATE -Wl,--wrap=mep_args_parse)
    endif()
    target_link_libraries(${target} PRIVATE mep_static mep_internal PkgConfig::JANSSON PkgConfig::PCRE2)
endfunction()
