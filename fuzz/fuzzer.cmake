# link_fuzzer(TARGET NAME): what fuzz_NAME.c needs, as a fuzzer and as a replay. Those that call subcommands get the
# command line's objects; the fuzzer of the command line stands in for their parser, so that none of them runs.
function(link_fuzzer target name)
    if(name MATCHES "^(command_line|commands)$")
        target_link_libraries(${target} PRIVATE mep_cli_objects)
    endif()
    if(name STREQUAL "command_line")
        target_link_options(${target} PRIVATE -Wl,--wrap=mep_args_parse)
    endif()
    target_link_libraries(${target} PRIVATE mep_static mep_internal PkgConfig::JANSSON PkgConfig::PCRE2)
endfunction()
