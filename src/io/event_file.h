/* SPDX-License-Identifier: MIT */
/*
 * TensorBoard event files: named numbers per step, appended while a program runs. The format is TFRecord with
 * tensorflow.Event messages; nothing of TensorFlow is needed to write it. One file is written by one thread.
 */
#ifndef MEP_IO_EVENT_FILE_H
#define MEP_IO_EVENT_FILE_H

#include <stdint.h>

#include "mep/status.h"

typedef struct mep_event_file mep_event_file;

/* Create a new event file in `folder`, which is made where it does not exist. TensorBoard shows all event files of a
 * folder as one run; of earlier files it drops the values of step `first` and later ones, so that a resumed run has
 * each step once. The caller owns *file. MEP_ERROR_IO with the path in the message. */
mep_status mep_event_file_create(mep_event_file **file, const char *folder, int64_t first);

/* 1 if `folder` has an event file. */
int mep_event_file_exists(const char *folder);

/* Append one value, with the time of this moment. A value that is not finite is left out. MEP_ERROR_ARGUMENT if the tag
 * has more than 200 bytes. */
mep_status mep_event_file_scalar(mep_event_file *file, const char *tag, int64_t step, double value);

/* Hand what was appended to the system, so that TensorBoard sees it. */
mep_status mep_event_file_flush(mep_event_file *file);

/* Flush, close and set to NULL; NULL is allowed. */
mep_status mep_event_file_close(mep_event_file **file);

#endif
