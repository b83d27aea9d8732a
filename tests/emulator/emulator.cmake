# The emulator of CUDA (cuda_emulator.h) and its tests: src/cuda, with kernels compiled as C++, is linked to every
# test_cuda_NAME.c or .cpp. Nothing else is C++; without a C++ compiler these tests are not built. They are not built for
# ThreadSanitizer either, which does not support fibers; the emulator has one thread.
if(NOT CMAKE_CXX_COMPILER AND NOT DEFINED ENV{CXX}) # of the C compiler's kind, so that sanitizers fit
    string(REGEX REPLACE "gcc([^/]*)$" "g++\\1" sibling "${CMAKE_C_COMPILER}")
    string(REGEX REPLACE "clang([^/]*)$" "clang++\\1" sibling "${sibling}")
    if(NOT sibling STREQUAL CMAKE_C_COMPILER AND EXISTS ${sibling})
        set(CMAKE_CXX_COMPILER ${sibling})
    endif()
endif()
include(CheckLanguage)
check_language(CXX)
set(MEP_CUDA_TESTS 0)
if(CMAKE_CXX_COMPILER AND NOT MEP_SANITIZE MATCHES "thread")
    set(MEP_CUDA_TESTS 1)
endif()
message(STATUS "Tests of CUDA kernels on the CPU: ${MEP_CUDA_TESTS}")
if(NOT MEP_CUDA_TESTS)
    return()
endif()

enable_language(CXX)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_EXTENSIONS OFF)
string(REPLACE "-O3" "-O2" CMAKE_CXX_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")

set(emulator ${CMAKE_CURRENT_LIST_DIR})
file(GLOB emulator_sources CONFIGURE_DEPENDS ${emulator}/*.cpp)
add_library(cuda_emulator STATIC ${emulator_sources})
target_include_directories(cuda_emulator BEFORE PUBLIC ${emulator})
target_compile_definitions(cuda_emulator PUBLIC MEP_CUDA_EMULATED=1)
target_link_libraries(cuda_emulator PUBLIC mep_internal ${CMAKE_DL_LIBS})
target_compile_options(cuda_emulator INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fno-strict-aliasing>) # as nvcc compiles kernels
if(NOT MEP_SANITIZE) # the compiler's check, the emulator's report
    target_compile_definitions(cuda_emulator PRIVATE EMULATOR_CHECKS_ALIGNMENT=1)
    target_compile_options(cuda_emulator INTERFACE
        $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=alignment> $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=alignment>)
endif()

file(GLOB kernel_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.cu)
file(GLOB host_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.c)
list(FILTER host_sources EXCLUDE REGEX "/cublaslt\\.c$") # loads the real one
# The list of back ends, with CUDA's: a program links this object instead of that of the library.
set(registry ${CMAKE_CURRENT_BINARY_DIR}/registry_with_cuda.c)
file(CONFIGURE OUTPUT ${registry} CONTENT "#undef MEP_HAVE_CUDA
#define MEP_HAVE_CUDA 1
#include \"backends/registry.c\"
")
set_source_files_properties(${kernel_sources} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++;-Wno-unknown-pragmas;-Wno-pass-failed")
add_library(cuda_emulated OBJECT ${kernel_sources} ${host_sources} ${registry} ${emulator}/install.c)
target_link_libraries(cuda_emulated PRIVATE cuda_emulator)
target_include_directories(cuda_emulated PRIVATE ${PROJECT_SOURCE_DIR}/include)

# The program with the emulated back end instead of that of CUDA, for cli_device.sh.
add_executable(mep_emulated ${PROJECT_SOURCE_DIR}/src/cli/main.c $<TARGET_OBJECTS:cuda_emulated>)
set_target_properties(mep_emulated PROPERTIES ENABLE_EXPORTS ON)
target_link_libraries(mep_emulated PRIVATE mep_cli_objects cuda_emulator mep_static)
add_script(cli_device_emulated ${CMAKE_CURRENT_SOURCE_DIR}/cli_device.sh $<TARGET_FILE:mep_emulated>)

file(GLOB cuda_tests CONFIGURE_DEPENDS test_cuda_*.c test_cuda_*.cpp)
foreach(source IN LISTS cuda_tests)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    set_target_properties(${name} PROPERTIES ENABLE_EXPORTS ON) # reports name the kernel
    target_link_libraries(${name} PRIVATE $<TARGET_OBJECTS:cuda_emulated> cuda_emulator mep_static PkgConfig::CMOCKA OpenMP::OpenMP_C m)
    if(MEP_SANITIZE)
        target_compile_definitions(${name} PRIVATE MEP_SANITIZED=1)
    endif()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT 600)
endforeach()
