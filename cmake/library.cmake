# libmep: every room but the command line and its benchmarks, compiled once and linked as a static and a shared library.
# MPI is not part of it; src/cli/mpi.c belongs to the program.

# Common to all targets of this project: warnings, include paths, sanitizers.
add_library(mep_internal INTERFACE)
target_include_directories(mep_internal INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_include_directories(mep_internal SYSTEM INTERFACE ${mep_absent})
set(mep_warnings -Wall -Wextra -Wshadow -Wvla -Wundef -Wpointer-arith -Wno-psabi)
list(JOIN mep_warnings "," mep_host_warnings) # nvcc passes them to the host compiler
target_compile_options(mep_internal INTERFACE
    "$<$<COMPILE_LANGUAGE:C,CXX>:${mep_warnings}>" "$<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes;-Wmissing-prototypes>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=${mep_host_warnings}>")
if(MEP_WERROR)
    target_compile_options(mep_internal INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:-Werror>"
        "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Werror;--Werror=all-warnings>")
endif()
target_compile_definitions(mep_internal INTERFACE MEP_VERSION="${PROJECT_VERSION}" MEP_HAVE_CUDA=${MEP_HAVE_CUDA}
    MEP_MISSING_LIBRARIES="${MEP_MISSING_LIBRARIES}" ${mep_definitions} MEP_ASSERTIONS=$<BOOL:${MEP_ASSERTIONS}>)
if(MEP_SANITIZE)
    set(mep_sanitizers -fsanitize=${MEP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_compile_options(mep_internal INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:${mep_sanitizers}>")
    target_link_options(mep_internal INTERFACE -fsanitize=${MEP_SANITIZE})
endif()

file(GLOB mep_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*/*.c)
list(FILTER mep_sources EXCLUDE REGEX "/src/(cli|bench|cuda)/")

# A file NAME_LEVEL.c is the variant of a kernel table for one CPU level.
set(mep_flags_avx2 -mavx2 -mfma -mf16c)
set(mep_flags_avx512 -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mprefer-vector-width=512)
set(mep_flags_avx512_bf16 ${mep_flags_avx512} -mavx512bf16)
set(mep_flags_amx_bf16 ${mep_flags_avx512_bf16} -mamx-tile -mamx-bf16)
# Every 64-bit Arm CPU has NEON. GCC's first scheduling pass, which is off on x86-64, moves loads ahead of the arithmetic, so that sums
# that fit into registers are spilled in the innermost loop.
set(mep_flags_neon -DMEP_FUSED=1 $<$<C_COMPILER_ID:GNU>:-fno-schedule-insns>)
set(mep_levels)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(mep_levels avx2 avx512 avx512_bf16 amx_bf16)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    set(mep_levels neon)
endif()
foreach(source IN LISTS mep_sources)
    if(source MATCHES "_(avx2|avx512|avx512_bf16|amx_bf16|neon)\\.c$")
        set(level ${CMAKE_MATCH_1})
        if(level IN_LIST mep_levels)
            set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
                "${mep_flags_${level}};-ffp-contract=fast")
        else()
            list(REMOVE_ITEM mep_sources ${source})
        endif()
    endif()
endforeach()

# Errors of PyTorch's operators are C++ exceptions, which pass through the kernels (torch/operators.c).
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/torch/operators.c PROPERTIES COMPILE_OPTIONS -fexceptions)

# The Python files of exported models are part of the library.
include(cmake/embed.cmake)
set(mep_python_files ${PROJECT_BINARY_DIR}/python_files.c)
mep_embed(${mep_python_files} mep_configuration_py=${PROJECT_SOURCE_DIR}/src/io/python/configuration_mep.py
          mep_modeling_py=${PROJECT_SOURCE_DIR}/src/io/python/modeling_mep.py)

add_library(mep_objects OBJECT ${mep_sources} ${mep_python_files})
target_include_directories(mep_objects PUBLIC ${PROJECT_SOURCE_DIR}/include)
# No fused multiply-add where the source has two operations, except in the files of a level: clang would generate some on Arm.
target_compile_options(mep_objects PRIVATE -fvisibility=hidden -fno-math-errno -fno-trapping-math -ffp-contract=off)
target_link_libraries(mep_objects PRIVATE mep_internal OpenMP::OpenMP_C ${mep_libraries})

# CUDA's runtime is linked into the library; cuBLASLt is loaded when needed. The kernels do not use the C++ library, so the C compiler
# can link.
set(mep_cuda)
set(mep_cuda_libraries)
if(MEP_HAVE_CUDA)
    file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.c ${PROJECT_SOURCE_DIR}/src/cuda/*.cu)
    add_library(mep_cuda_objects OBJECT ${cuda_sources})
    target_include_directories(mep_cuda_objects PRIVATE ${PROJECT_SOURCE_DIR}/include)
    target_include_directories(mep_cuda_objects SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
    target_compile_options(mep_cuda_objects PRIVATE $<$<COMPILE_LANGUAGE:C>:-fvisibility=hidden>
        $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics>)
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/cuda/cublaslt.c PROPERTIES
                                COMPILE_DEFINITIONS "MEP_CUDA_LIBRARIES=\"${CUDAToolkit_LIBRARY_DIR}\"")
    target_link_libraries(mep_cuda_objects PRIVATE mep_internal)
    set(mep_cuda $<TARGET_OBJECTS:mep_cuda_objects>)
    set(mep_cuda_libraries CUDA::cudart_static)
endif()

foreach(kind IN ITEMS static shared)
    string(TOUPPER ${kind} KIND)
    add_library(mep_${kind} ${KIND} $<TARGET_OBJECTS:mep_objects> ${mep_cuda})
    set_target_properties(mep_${kind} PROPERTIES OUTPUT_NAME mep VERSION ${PROJECT_VERSION} SOVERSION 0 EXPORT_NAME ${kind}
                          LINKER_LANGUAGE C)
    target_include_directories(mep_${kind} PUBLIC
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_link_libraries(mep_${kind} PRIVATE $<BUILD_INTERFACE:OpenMP::OpenMP_C> $<INSTALL_INTERFACE:mep::openmp>
                          ${mep_libraries} ${mep_cuda_libraries} m $<BUILD_INTERFACE:mep_internal>)
endforeach()
