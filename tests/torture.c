/* SPDX-License-Identifier: MIT */
/*
 * Torture: a training run that saves after every step is killed (SIGKILL) at random moments, resumed each time, and
 * finally compared byte for byte with a run without interruption: parameters, optimizer, state, and the log except its
 * timings. Usage: torture PROGRAM KILLS [SEED]. The seed determines the moments, but not what the program does then.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "io/files.h"

enum { STEPS_A_KILL = 12 }; /* maximum number of steps before a kill */

/* Print what failed and the last message of the training program, and exit. */
static void fail(const char *what)
{
    char text[1000];
    FILE *file = fopen("err", "r");
    size_t size = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
    text[size] = '\0';
    printf("FAILED: %s\n%s", what, text);
    exit(1);
}

/* Start PROGRAM ARGUMENT ... with its output in the files out and err. The arguments end with NULL. */
static pid_t start(const char *program, char *const *arguments)
{
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid > 0) return pid;
    int out = open("out", O_WRONLY | O_CREAT | O_TRUNC, 0666), err = open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    execv(program, arguments);
    _exit(127);
}

/* Start it and wait; it must succeed. Returns its seconds. */
static double finish(const char *program, char *const *arguments)
{
    int status = 0;
    double begin = mep_now();
    waitpid(start(program, arguments), &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail(arguments[1]);
    return mep_now() - begin;
}

static double train(const char *program, char *run, int64_t steps)
{
    char count[24];
    snprintf(count, sizeof count, "%lld", (long long)steps);
    char *arguments[] = {"mep",
                         "train",
                         "--data",
                         "text",
                         "--out",
                         run,
                         "--steps",
                         count,
                         "--save-every",
                         "1",
                         "--num-hidden-layers",
                         "1",
                         "--hidden-size",
                         "16",
                         "--num-attention-heads",
                         "2",
                         "--length",
                         "16",
                         "--batch-size",
                         "4",
                         "--dtype",
                         "float32",
                         "--position",
                         "mep_param",
                         "--quiet",
                         NULL};
    return finish(program, arguments);
}

static void prepare(const char *program)
{
    char *arguments[] = {"mep", "prepare", "--out", "text", "text.txt", NULL};
    FILE *file = fopen("text.txt", "w");
    for (int i = 0; i < 400; i++) fprintf(file, "Line %d: the quick brown fox jumps over the lazy dog.\n", i);
    fclose(file);
    finish(program, arguments);
}

/* 1 if the kill left a checkpoint that was being written or removed. */
static int was_saving(const char *run)
{
    int found = 0;
    DIR *folder = opendir(run);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        size_t length = strlen(entry->d_name);
        found |= length > 4 && strcmp(entry->d_name + length - 4, ".tmp") == 0;
    }
    if (folder != NULL) closedir(folder);
    return found;
}

static void sleep_for(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&time, &time) != 0) continue;
}

/* The step of the last complete line of the log; 0 if there is none. */
static long long last_step(void)
{
    char text[600];
    long long step = 0;
    FILE *file = fopen("torn/metrics.jsonl", "r");
    if (file == NULL) return 0;
    if (fseek(file, -(long)sizeof text + 1, SEEK_END) != 0) rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    char *end = strrchr(text, '\n');
    if (end == NULL) return 0;
    *end = '\0';
    char *line = strrchr(text, '\n');
    sscanf(line != NULL ? line + 1 : text, "{\"step\": %lld", &step);
    return step;
}

/* Wait for a moment during the start, or during the step after `target`. */
static void wait_for(pid_t pid, long long target, double seconds)
{
    int status = 0;
    double begin = mep_now();
    for (; target > 0 && last_step() < target; sleep_for(2e-4))
        if (waitpid(pid, &status, WNOHANG) != 0 || mep_now() - begin > 60) fail("a resumed run came to no step");
    sleep_for(seconds);
}

static void torture(const char *program, int64_t kills, uint64_t seed, double startup, double step)
{
    int64_t saving = 0, starting = 0;
    for (int64_t i = 0; i < kills; i++) {
        uint64_t bits = mep_random_bits(seed, 1, (uint64_t)i);
        double moment = (double)(bits >> 11) * 0x1p-53;
        char *arguments[] = {"mep", "train", "--resume", "torn", "--quiet", NULL};
        int status = 0, more = (int)(bits % STEPS_A_KILL);
        pid_t pid = start(program, arguments);
        wait_for(pid, more > 1 ? last_step() + more : 0, moment * (more > 1 ? step : startup));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        if (!WIFSIGNALED(status)) fail("a resumed run ended by itself");
        saving += was_saving("torn");
        starting += more <= 1;
    }
    printf("%lld kills: %lld while a checkpoint was written or removed, %lld in the first moments of a start\n",
           (long long)kills, (long long)saving, (long long)starting);
}

static void same_file(const char *name, int64_t steps)
{
    char path[2][200], *data[2], what[500];
    int64_t size[2];
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/checkpoint-%lld/%s", i == 0 ? "whole" : "torn", (long long)steps, name);
        if (mep_file_read(path[i], 1 << 28, &data[i], &size[i]) != MEP_OK) fail(mep_error_message());
    }
    snprintf(what, sizeof what, "%s and %s differ", path[0], path[1]);
    if (size[0] != size[1] || memcmp(data[0], data[1], (size_t)size[0]) != 0) fail(what);
    free(data[0]);
    free(data[1]);
}

/* Both logs have one line per step, and the lines are equal up to the timing, which comes last. */
static void same_log(int64_t steps)
{
    char a[500], b[500];
    FILE *whole = fopen("whole/metrics.jsonl", "r"), *torn = fopen("torn/metrics.jsonl", "r");
    for (int64_t step = 1; step <= steps; step++) {
        if (fgets(a, sizeof a, whole) == NULL || fgets(b, sizeof b, torn) == NULL) fail("metrics.jsonl lacks steps");
        const char *timing = strstr(a, ", \"tokens_per_second\"");
        if (timing == NULL || strncmp(a, b, (size_t)(timing - a)) != 0) fail("metrics.jsonl differs");
    }
    if (fgets(b, sizeof b, torn) != NULL) fail("metrics.jsonl has more lines than steps");
    fclose(whole);
    fclose(torn);
}

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int64_t kills = atoll(argv[2]), steps = STEPS_A_KILL * kills;
    uint64_t seed = argc > 3 ? (uint64_t)atoll(argv[3]) : 1;
    /* The files are in memory if possible: a killed process loses nothing that it has written, synced or not. */
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char folder[256], program[4096];
    if (getenv("TMPDIR") != NULL) base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/mep-torture-XXXXXX", base);
    if (realpath(argv[1], program) == NULL || mkdtemp(folder) == NULL || chdir(folder) != 0) fail(argv[1]);
    setenv("OMP_NUM_THREADS", "1", 1);
    prepare(program);
    double startup = train(program, "probe", 1), whole = train(program, "whole", steps);
    double step = whole > startup ? (whole - startup) / (double)steps : 1e-3;
    printf("seed %llu: %lld steps of %.1f ms, a start of %.0f ms\n", (unsigned long long)seed, (long long)steps,
           1e3 * step, 1e3 * startup);
    fflush(stdout);
    /* the same run with its settings only, as if killed before the first step */
    if (mkdir("torn", 0777) != 0 || link("whole/train.json", "torn/train.json") != 0) fail("torn");
    torture(program, kills, seed, startup, step);
    char *arguments[] = {"mep", "train", "--resume", "torn", "--quiet", NULL};
    finish(program, arguments);
    same_file("model.safetensors", steps);
    same_file("optimizer.safetensors", steps);
    same_file("config.json", steps);
    same_file("state.json", steps);
    same_log(steps);
    if (was_saving("torn")) fail("something of a checkpoint was left");
    printf("every byte is that of the run that was never killed\n");
    return chdir("/") != 0 || mep_remove_tree(folder) != MEP_OK;
}
