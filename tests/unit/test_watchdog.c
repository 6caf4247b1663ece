/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A test program that is stopped from outside says which test was running.
 */
#include <glib.h>
#include <signal.h>

static void test_stopped(void)
{
    if (g_test_subprocess()) {
        raise(SIGTERM);
        return; /* not reached: a handler that does not end the program makes the test fail */
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*stopped by SIGTERM in the test /watchdog/stopped\n*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/watchdog/stopped", test_stopped);
    return g_test_run();
}
