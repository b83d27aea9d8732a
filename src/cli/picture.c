/* SPDX-License-Identifier: MIT */
/*
 * Files, frame and legend of a picture, and the run of gnuplot.
 */
#define _GNU_SOURCE
#include "cli/picture.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/memory.h"

extern char **environ;

/* The first words of the files, by which they are known again. */
static const char DATA_MARK[] = "# Data of ", SCRIPT_MARK[] = "# Restyle at will";

/* Okabe and Ito's colours, which readers of every colour vision tell apart, without their yellow; and marks of like
 * weight. */
static const char *const COLOURS[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                      "#E69F00", "#56B4E9", "#000000", "#888888"};
static const int MARKS[] = {7, 5, 9, 13, 11, 15, 6, 4};
enum { COLOUR_COUNT = sizeof COLOURS / sizeof *COLOURS };

void mep_picture_free(mep_picture *files)
{
    mep_free(&files->folder);
    mep_free(&files->base);
    mep_free(&files->data);
    mep_free(&files->script);
    mep_free(&files->script_name);
}

/* A file that exists is of this program when it begins with `mark`. */
static mep_status refuse_foreign(const char *path, const char *mark)
{
    char start[32] = "";
    FILE *file = fopen(path, "rb");
    if (file == NULL) return MEP_OK; /* there is none, or writing it will fail and say why */
    size_t size = fread(start, 1, strlen(mark), file);
    fclose(file);
    if (size == 0 || strcmp(start, mark) == 0) return MEP_OK;
    return mep_fail(MEP_ERROR_IO,
                    "%s exists and is not a file of this program; name another picture with --out FILE.png", path);
}

static mep_status name_files(mep_picture *files, const char *png)
{
    const char *slash = strrchr(png, '/'), *name = slash == NULL ? png : slash + 1;
    size_t length = strlen(name);
    if (length < 5 || strcmp(name + length - 4, ".png") != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: the name of a picture ends in .png", png);
    int folder = slash == NULL ? 0 : (int)(slash - png) + 1, stem = (int)length - 4;
    MEP_TRY(folder == 0 ? mep_copy_string(&files->folder, "./") : mep_format(&files->folder, "%.*s", folder, png));
    MEP_TRY(mep_format(&files->base, "%.*s", stem, name));
    MEP_TRY(mep_format(&files->data, "%.*s%s.dat", folder, png, files->base));
    MEP_TRY(mep_format(&files->script, "%.*s%s.gp", folder, png, files->base));
    return mep_format(&files->script_name, "%s.gp", files->base);
}

mep_status mep_picture_begin(mep_picture *files, const char *png)
{
    MEP_TRY(name_files(files, png));
    MEP_TRY(refuse_foreign(files->data, DATA_MARK));
    return refuse_foreign(files->script, SCRIPT_MARK);
}

mep_status mep_picture_open_data(const mep_picture *files, const char *columns, FILE **file)
{
    *file = fopen(files->data, "w");
    if (*file == NULL) return mep_fail_errno("write", files->data);
    fprintf(*file, "%s%s.png: %s\n", DATA_MARK, files->base, columns);
    return MEP_OK;
}

mep_status mep_picture_open_script(const mep_picture *files, FILE **file)
{
    *file = fopen(files->script, "w");
    if (*file == NULL) return mep_fail_errno("write", files->script);
    fprintf(*file, "%s; run it in its folder: gnuplot %s\n", SCRIPT_MARK, files->script_name);
    return MEP_OK;
}

mep_status mep_picture_close(FILE *file, const char *path)
{
    int failed = ferror(file);
    if (fclose(file) != 0 || failed) return mep_fail_errno("write", path);
    return MEP_OK;
}

/* A quote is doubled, control characters become spaces. */
void mep_picture_quote(FILE *file, const char *text)
{
    fputc('\'', file);
    for (; *text != '\0'; text++) {
        if (*text == '\'') fputc('\'', file);
        fputc((unsigned char)*text < ' ' ? ' ' : *text, file);
    }
    fputc('\'', file);
}

void mep_picture_name(FILE *file, const mep_picture *files, const char *ending)
{
    char name[512];
    snprintf(name, sizeof name, "%s%s", files->base, ending);
    mep_picture_quote(file, name);
}

/* The legend stands to the right; long names go below, where they do not eat the picture's width. In pixels: a row of
 * it is 32 high, a name 100 wide and 12 a character. */
mep_legend mep_legend_find(int64_t count, int64_t longest)
{
    const int64_t height = MEP_PICTURE_HEIGHT;
    mep_legend l = {.is_below = longest > 18, .columns = 1, .rows = count};
    if (!l.is_below) {
        l.height = 160 + 32 * count > height ? 160 + 32 * count : height;
        return l;
    }
    l.columns = 1100 / (100 + 12 * longest) > 1 ? 1100 / (100 + 12 * longest) : 1;
    l.rows = (count + l.columns - 1) / l.columns;
    l.height = height + 32 * (l.rows > 3 ? l.rows - 3 : 0);
    return l;
}

void mep_picture_frame(FILE *file, const mep_picture *files, int64_t width, int64_t height)
{
    fprintf(file,
            "set terminal pngcairo size %lld,%lld noenhanced background '#ffffff' font 'DejaVu Sans,15' linewidth 1.5\n"
            "set encoding utf8\nset output ",
            (long long)width, (long long)height);
    mep_picture_name(file, files, ".png");
    fputs("\nset border 3 linecolor '#444444'\nset tics nomirror out scale 0.6 textcolor '#222222'\n"
          "set grid xtics ytics linetype 1 linewidth 0.6 linecolor '#dddddd'\n",
          file);
    for (int i = 0; i < COLOUR_COUNT; i++)
        fprintf(file, "set linetype %d linecolor '%s' pointtype %d pointsize 1.3 linewidth 2\n", i + 1, COLOURS[i],
                MARKS[i]);
    for (int i = 0; i < COLOUR_COUNT; i++)
        fprintf(file, "set linetype %d linecolor '%s' pointtype %d pointsize 1.3 linewidth 2 dashtype 2\n",
                COLOUR_COUNT + i + 1, COLOURS[i], MARKS[(i + 1) % COLOUR_COUNT]);
    fputs("data = ", file);
    mep_picture_name(file, files, ".dat");
    fputc('\n', file);
}

/* Write the ticks at `steps` (ended by 0) times the powers of ten that `every` divides, to `file` unless it is NULL.
 * Returns how many there are. */
static int64_t log_ticks(FILE *file, double low, double high, const double *steps, int every)
{
    int64_t count = 0;
    int first = (int)floor(floor(log10(low)) / every) * every;
    for (int power = first; power <= log10(high); power += every)
        for (const double *step = steps; *step != 0; step++) {
            double y = *step * pow(10, power);
            if (y < low || y > high) continue;
            count++;
            if (file != NULL)
                fprintf(file, y < 1e6 ? "%s'%.10g' %.10g" : "%s'%.0e' %.10g", count > 1 ? ", " : "", y, y);
        }
    return count;
}

void mep_picture_log_ticks(FILE *file, double low, double high, int64_t most)
{
    static const double dense[] = {1, 1.5, 2, 3, 4, 5, 6, 8, 0}, wide[] = {1, 2, 5, 0}, widest[] = {1, 0};
    const double *const steps[] = {dense, wide, widest};
    int choice = 0, every = 1;
    while (choice < 2 && log_ticks(NULL, low, high, steps[choice], 1) > most) choice++;
    while (log_ticks(NULL, low, high, steps[choice], every) > most) every++;
    fputs("set ytics (", file);
    log_ticks(file, low, high, steps[choice], every);
    fputs(")\n", file);
}

const char *mep_picture_colour(int64_t style)
{
    return COLOURS[(style - 1) % COLOUR_COUNT];
}

mep_status mep_picture_run(const mep_picture *files)
{
    char command[] = "gnuplot";
    char *arguments[] = {command, files->script_name, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    setenv("LC_ALL", "C.UTF-8", 1); /* the script is UTF-8; gnuplot warns of it in a locale that is not */
    int state = 0, error = posix_spawn_file_actions_init(&actions);
    if (error == 0) {
        error = posix_spawn_file_actions_addchdir_np(&actions, files->folder);
        if (error == 0) error = posix_spawnp(&child, command, &actions, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    if (error == ENOENT)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "gnuplot was not found: install it (Debian: apt-get install gnuplot-nox); %s and %s are kept",
                        files->data, files->script);
    if (error != 0) return mep_fail(MEP_ERROR_IO, "cannot start gnuplot: %s", strerror(error));
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR) return mep_fail_errno("wait for", command);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
        return mep_fail(MEP_ERROR_IO, "gnuplot failed on %s; its message stands above", files->script);
    return MEP_OK;
}
