/* SPDX-License-Identifier: MIT */
/*
 * What the tests of CUDA kernels share: cmocka in C++, and arrays on the device. It tests nothing itself.
 */
#ifndef MEP_TESTS_CUDA_TEST_H
#define MEP_TESTS_CUDA_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <vector>

extern "C" {
#include <cmocka.h>
}

#include "cuda/warp.cuh"

enum { SEEDS = 8 }; /* orders of threads and blocks in which kernels are tried (emulator::set_seed) */

/* Device memory with the values of `host`, which come back by get(). */
template <class T> struct device_array {
    T *data;
    size_t count;

    explicit device_array(const std::vector<T> &host) : data(NULL), count(host.size())
    {
        assert_int_equal(cudaMalloc(&data, count * sizeof(T)), cudaSuccess);
        assert_int_equal(cudaMemcpy(data, host.data(), count * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
    }
    device_array(const device_array &) = delete;
    ~device_array()
    {
        cudaFree(data);
    }
    std::vector<T> get() const
    {
        std::vector<T> host(count);
        assert_int_equal(cudaMemcpy(host.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
        return host;
    }
};

#endif
