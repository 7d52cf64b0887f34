/* Where counting under valgrind begins and ends: see counts.py. Client requests cost a few
 * instructions, and nothing where no valgrind runs. */
#include <valgrind/callgrind.h>

int running_on_valgrind(void)
{
    return (int)RUNNING_ON_VALGRIND;
}

void begin(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void end(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
