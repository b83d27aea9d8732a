/* SPDX-License-Identifier: MIT */
/*
 * Signal handlers.
 */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700
#include "cli/interrupt.h"

#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

volatile sig_atomic_t mep_interrupt_flag;
static volatile sig_atomic_t prints_sigterm, exits_at_once;

static void handle(int signal_number)
{
    static const char again[] = "\nstopping; press Ctrl-C again to stop immediately\n";
    static const char others[] = "\nstopping on request of mpirun; if a process has died, only what was saved before "
                                 "is kept: continue from it\n";
    static const char stopped[] = "\nstopped\n";
    ssize_t written = 0;
    mep_interrupt_flag = 1;
    if (exits_at_once) {
        written = write(STDERR_FILENO, stopped, sizeof stopped - 1);
        (void)written;
        _exit(MEP_EXIT_INTERRUPTED);
    }
    if (signal_number == SIGINT) written = write(STDERR_FILENO, again, sizeof again - 1);
    if (signal_number == SIGTERM && prints_sigterm) written = write(STDERR_FILENO, others, sizeof others - 1);
    (void)written;
}

/* SA_RESETHAND restores the default action before the handler runs, so that the second signal ends the process. */
void mep_interrupt_install(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < 4; i++)
        if (signals[i] != SIGHUP || sigaction(SIGHUP, NULL, &before) != 0 || before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
}

void mep_interrupt_print_sigterm(int on)
{
    prints_sigterm = on;
}

void mep_interrupt_exit_at_once(int on)
{
    exits_at_once = on;
}

void mep_interrupt_keep_running(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}
