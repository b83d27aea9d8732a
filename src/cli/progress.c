/* SPDX-License-Identifier: MIT */
/*
 * The progress line.
 */
#define _DEFAULT_SOURCE
#include "cli/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

enum { LINE = 256 };
static const double TERMINAL_SECONDS = 0.1, PLAIN_SECONDS = 10.0;

void mep_duration_text(double seconds, char text[32])
{
    long long s = seconds > 0 ? (long long)(seconds + 0.5) : 0;
    if (s >= 3600)
        snprintf(text, 32, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, 32, "%lld:%02lld", s / 60, s % 60);
}

void mep_short_number(double number, char text[32])
{
    static const char *const units[] = {"", "k", "M", "G", "T"};
    int unit = 0;
    for (; number >= 999.5 && unit < 4; unit++) number /= 1000;
    snprintf(text, 32, number < 99.95 && unit > 0 ? "%.1f%s" : "%.0f%s", number, units[unit]);
}

static int terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* The line: label, counts, text, and the time taken (is_last) or left. */
static void build_line(const mep_progress *progress, double now, int is_last, char line[LINE])
{
    char clock[32];
    double elapsed = now - progress->started;
    int64_t made = progress->done - progress->first;
    int used = 0;
    if (progress->total > 0)
        used = snprintf(line, LINE, "%s  %lld/%lld  %3.0f%%", progress->label, (long long)progress->done,
                        (long long)progress->total, 100.0 * (double)progress->done / (double)progress->total);
    else
        used = snprintf(line, LINE, "%s  %lld", progress->label, (long long)progress->done);
    if (used < 0 || used >= LINE) return;
    if (progress->text[0] != '\0') used += snprintf(line + used, (size_t)(LINE - used), "  %s", progress->text);
    if (used >= LINE) return;
    if (is_last) {
        mep_duration_text(elapsed, clock);
        snprintf(line + used, (size_t)(LINE - used), "  took %s", clock);
        return;
    }
    double left = progress->left;
    if (!(left > 0) && progress->total > 0 && made > 0 && elapsed > 1)
        left = elapsed / (double)made * (double)(progress->total - progress->done);
    if (!(left > 0)) return;
    mep_duration_text(left, clock);
    snprintf(line + used, (size_t)(LINE - used), "  %s left", clock);
}

static void show(mep_progress *progress, double now, int is_last)
{
    char line[LINE];
    build_line(progress, now, is_last, line);
    mep_one_line(line);
    if (progress->terminal)
        fprintf(stderr, "\r%.*s\033[K%s", terminal_columns() - 1, line, is_last ? "\n" : "");
    else
        fprintf(stderr, "%s\n", line);
    fflush(stderr);
    progress->shown = now;
}

void mep_progress_start(mep_progress *progress, const char *label, int64_t done, int64_t total)
{
    double now = mep_now();
    *progress = (mep_progress){.label = label,
                               .first = done,
                               .done = done,
                               .total = total,
                               .started = now,
                               .shown = now,
                               .running = 1,
                               .terminal = isatty(STDERR_FILENO)};
}

void mep_progress_update(mep_progress *progress, int64_t done, const char *format, ...)
{
    if (!progress->running) return;
    double now = mep_now();
    va_list args;
    va_start(args, format);
    vsnprintf(progress->text, sizeof progress->text, format, args);
    va_end(args);
    progress->done = done;
    if (now - progress->shown >= (progress->terminal ? TERMINAL_SECONDS : PLAIN_SECONDS)) show(progress, now, 0);
}

void mep_progress_finish(mep_progress *progress)
{
    if (!progress->running) return;
    int is_visible = progress->shown > progress->started;
    if (is_visible || progress->done > progress->first) show(progress, mep_now(), 1);
    progress->running = 0;
}
