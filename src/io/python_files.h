/* SPDX-License-Identifier: MIT */
/*
 * The Python files of an exported model, src/io/python/NAME.py, as text; cmake/library.cmake makes the C file.
 */
#ifndef MEP_IO_PYTHON_FILES_H
#define MEP_IO_PYTHON_FILES_H

extern const char mep_configuration_py[], mep_modeling_py[];

#endif
