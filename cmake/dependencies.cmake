# Libraries of others; docs/architecture.md gives the reason for each.
find_package(PkgConfig REQUIRED)
find_package(OpenMP COMPONENTS C)
if(NOT OpenMP_C_FOUND)
    message(FATAL_ERROR "${CMAKE_C_COMPILER} has no OpenMP library: for clang install libomp-dev, for clang-19 libomp-19-dev, and so "
            "on (Fedora: libomp-devel)")
endif()
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(LIBARCHIVE REQUIRED IMPORTED_TARGET libarchive)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8>=10.40)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

# Only the program uses MPI, and loads it when needed.
set(MEP_HAVE_MPI 0)
if(NOT MEP_MPI STREQUAL "OFF")
    find_package(MPI QUIET COMPONENTS C)
    if(MPI_C_FOUND)
        set(MEP_HAVE_MPI 1)
    elseif(MEP_MPI STREQUAL "ON")
        message(FATAL_ERROR "MEP_MPI=ON, but MPI was not found: install libopenmpi-dev, or configure with MEP_MPI=OFF")
    endif()
endif()
message(STATUS "Several processes by MPI: ${MEP_HAVE_MPI}")

# nvcc compiles kernels for compute capability 8.0 (which 8.6 and 8.9 also run) and 9.0, and to PTX, which the driver compiles for
# later GPUs.
set(MEP_HAVE_CUDA 0)
if(NOT MEP_CUDA STREQUAL "OFF")
    include(CheckLanguage)
    check_language(CUDA)
    find_package(CUDAToolkit 12.0 QUIET)
    if(CMAKE_CUDA_COMPILER AND TARGET CUDA::cublasLt AND TARGET CUDA::cudart_static)
        set(MEP_HAVE_CUDA 1)
        if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
            set(CMAKE_CUDA_ARCHITECTURES 80 90a-real)
        endif()
        enable_language(CUDA)
        set(CMAKE_CUDA_LINKER_PREFERENCE_PROPAGATES OFF) # a user of the library links in its own language
        set(CMAKE_CUDA_STANDARD 17)
    elseif(MEP_CUDA STREQUAL "ON")
        message(FATAL_ERROR "MEP_CUDA=ON, but nvcc, the CUDA runtime or cuBLASLt was not found: install NVIDIA's CUDA toolkit 12.0 or "
                "later, put its nvcc into PATH or its path into CUDACXX, or configure with MEP_CUDA=OFF")
    endif()
endif()
message(STATUS "Devices by CUDA: ${MEP_HAVE_CUDA}")
