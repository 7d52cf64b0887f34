/* The compiled floors for the instruction set that every processor has. */
#define FL_ISA baseline
#define FL_ISA_NAME "baseline"
#define FL_VBYTES 16
#include "isa_body.h"
