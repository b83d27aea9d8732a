# Installation: both libraries, headers, the program, and package files for pkg-config and CMake.
include(CMakePackageConfigHelpers)
set(MEP_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/mep)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/mep DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS mep_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${mep_gnuplot_files} DESTINATION ${CMAKE_INSTALL_DATADIR}/mep/gnuplot)
if(MEP_HAVE_MPI)
    install(TARGETS mep_mpi_module LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

# Two export files: a user of the shared library does not need the libraries that the static one links to.
foreach(kind IN ITEMS shared static)
    install(TARGETS mep_${kind} EXPORT mep-${kind}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(EXPORT mep-${kind} NAMESPACE mep:: DESTINATION ${MEP_PACKAGE_DIR})
endforeach()
# The Python package contains the shared library, as one file that it loads by path (pyproject.toml).
install(FILES $<TARGET_FILE:mep_shared> DESTINATION libmep RENAME libmep.so COMPONENT python EXCLUDE_FROM_ALL)
# clang's OpenMP library has all functions of gcc's, but not vice versa: users of a static library built by clang link clang's.
set(MEP_PC_OPENMP ${OpenMP_C_FLAGS})
set(MEP_LIBOMP_DIR)
if(CMAKE_C_COMPILER_ID MATCHES "Clang" AND OpenMP_omp_LIBRARY)
    get_filename_component(MEP_LIBOMP_DIR ${OpenMP_omp_LIBRARY} DIRECTORY)
    set(MEP_PC_OPENMP "-L${MEP_LIBOMP_DIR} -lomp")
endif()
list(JOIN mep_modules " " MEP_CONFIG_MODULES)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/mep-config.cmake.in ${PROJECT_BINARY_DIR}/mep-config.cmake
    INSTALL_DESTINATION ${MEP_PACKAGE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mep-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mep-config.cmake ${PROJECT_BINARY_DIR}/mep-config-version.cmake
    DESTINATION ${MEP_PACKAGE_DIR})

# The prefix of mep.pc is known at installation, so the file is written then.
set(MEP_PC_PRIVATE)
foreach(pair IN LISTS mep_modules)
    string(REGEX REPLACE "^.*:(lib)?" "" library ${pair})
    string(APPEND MEP_PC_PRIVATE "-l${library} ")
endforeach()
string(REPLACE "-lzlib" "-lz" MEP_PC_PRIVATE "${MEP_PC_PRIVATE}-lm ${MEP_PC_OPENMP}")
if(MEP_HAVE_CUDA)
    string(APPEND MEP_PC_PRIVATE " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt -lpthread")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/mep.pc.in ${PROJECT_BINARY_DIR}/mep.pc.half @ONLY)
install(CODE "
    get_filename_component(MEP_PREFIX \"\${CMAKE_INSTALL_PREFIX}\" ABSOLUTE)
    file(READ \"${PROJECT_BINARY_DIR}/mep.pc.half\" text)
    string(REPLACE \"%PREFIX%\" \"\${MEP_PREFIX}\" text \"\${text}\")
    file(WRITE \"${PROJECT_BINARY_DIR}/mep.pc\" \"\${text}\")")
install(FILES ${PROJECT_BINARY_DIR}/mep.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
