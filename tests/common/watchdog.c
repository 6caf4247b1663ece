/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A test program that is stopped from outside says which test was running: Meson sends SIGTERM when
 * a test's time is over, a person presses Ctrl-C. No limit of time is set here, so that Meson's,
 * with its --timeout-multiplier, stays the only one.
 *
 * Compiled into every program that has the dependency `watchdog`; its constructor does the rest.
 * For programs of GLib's test framework (g_test_add_func).
 */
#include <glib.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* A signal handler may neither allocate nor use stdio. */
static void print(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void) written; /* with stderr closed there is nobody to tell */
}

static void on_stop(int number)
{
    const char *test = g_test_get_path();
    print(number == SIGINT ? "\nstopped by SIGINT" : "\nstopped by SIGTERM");
    print(*test ? " in the test " : " outside of the tests");
    print(test);
    print("\n");
    raise(number); /* SA_RESETHAND: with the default action now, which ends the program */
}

__attribute__((constructor)) static void install(void)
{
    struct sigaction action = {.sa_handler = on_stop, .sa_flags = (int) SA_RESETHAND};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}
