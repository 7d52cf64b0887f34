/* The compiled floors for the instruction set that every processor has. */
#define FL_NARROW(from, to)                                                                                     \
    for (int quarter = 0; quarter < 4; quarter++)                                                               \
        (to)[quarter] = (FLN(bytes))__builtin_convertvector((from)[quarter], FLN(four_floats))
#define FL_ISA baseline
#define FL_ISA_NAME "baseline"
#define FL_VBYTES 16
#include "isa_body.h"
