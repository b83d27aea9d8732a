/* SPDX-License-Identifier: MIT */
/*
 * The end of a subcommand: one line on stderr and an exit code.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

enum { LINE = 2048 };

static const mep_dist *group; /* of complaints; NULL: this process alone */
static char kept[LINE];       /* the last complaint */

void mep_cli_complain_in(const mep_dist *processes)
{
    group = processes;
}

void mep_cli_complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(kept, sizeof kept, format, args);
    va_end(args);
    mep_one_line(kept);
    if (group == NULL || mep_dist_size(group) == 1 || (mep_dist_is_settled(group) && mep_dist_rank(group) == 0))
        fprintf(stderr, "%s\n", kept);
}

const char *mep_cli_complaint(void)
{
    return kept;
}

int mep_cli_fail(const char *command)
{
    mep_cli_complain("mep %s: %s", command, mep_error_message());
    return MEP_EXIT_FAILED;
}

int mep_cli_usage(const char *command, const char *format, ...)
{
    char message[LINE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    mep_one_line(message);
    mep_cli_complain("mep %s: %s; see mep %s --help", command, message, command);
    return MEP_EXIT_USAGE;
}

int mep_cli_refuse_encoding(const char *command, const char *spec)
{
    int hint = strchr(spec, ',') != NULL;
    return mep_cli_usage(command, "%s%s", mep_error_message(),
                         hint ? "; where an encoding has options, ';' ends it, not a comma" : "");
}

void mep_cli_print(FILE *file, const char *format, ...)
{
    char text[LINE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *line = text; line != NULL;) {
        char *end = strchr(line, '\n');
        if (end != NULL) *end = '\0';
        mep_one_line(line);
        fputs(line, file);
        if (end != NULL) fputc('\n', file);
        line = end != NULL ? end + 1 : NULL;
    }
}

int mep_cli_finish(const char *command, int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fprintf(stderr, "mep %s: cannot write to the standard output: %s\n", command, strerror(errno));
    return code == MEP_EXIT_OK ? MEP_EXIT_FAILED : code;
}
