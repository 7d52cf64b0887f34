/* The row and worker floors for one instruction set: both types (and rows of bfloat16 for
 * float), and the table entry. Included by isa_*.c, which define
 *   FL_ISA                 a suffix for names, and FL_ISA_NAME the same as text
 *   FL_VBYTES              bytes of a hardware vector
 *   FL_MASKED_LOAD_FLOAT / FL_MASKED_LOAD_DOUBLE (p, m), if the set has one:
 *                          the first m entries, then zeros, nothing else read
 *   FL_LEAVES_ROWS_OF (bytes, batch_size), FL_LEFT_TO: which rows another set takes, and which one
 *   FL_WIDEN_FLOAT (p), if the set has one: FL_WIDE floats as doubles
 *   FL_MIN_FLOAT / FL_MAX_FLOAT (a, b), if the set has them: of lanes that hold a NaN, b's
 *   FL_MULTIPLY_LOW (a, b), FL_SQRT_FLOAT (v), FL_SQRT_DOUBLE (v), if the set has them
 *   FL_ANY (v), if the set has one: whether any bit of a vector of FL_VBYTES is set
 *   FL_NARROW (from, to)   16 doubles, in vectors of FL_WIDE, as floats in vectors of FL_VBYTES
 */
#include <string.h>

#include "kernels.h"
#include "losses.h"
#include "scales.h"
#include "stream.h"
#include "visits.h"

#define FL_PASTE4(a, b, c, d) a##_##b##_##c##_##d
#define FL_PASTE3(a, b, c) a##_##b##_##c
#define FL_PASTE2(a, b) a##_##b
#define FL_NAME4(a, b, c, d) FL_PASTE4(a, b, c, d)
#define FL_NAME3(a, b, c) FL_PASTE3(a, b, c)
#define FL_NAME2(a, b) FL_PASTE2(a, b)
#define FLN(name) FL_NAME2(name, FL_ISA)

typedef char FLN(bytes) __attribute__((vector_size(FL_VBYTES), aligned(FL_VBYTES), may_alias));

/* Doubles of passes and of means. Never wider than the hardware's vectors: compilers keep wider ones in memory, and
 * spread a number over one by two stores and a load that waits for both (64 gradients in one pass, SSE2: 15
 * times the time of AVX2 instead of 2.2 times). */
#define FL_WIDE (FL_VBYTES < 32 ? FL_VBYTES / 8 : 4)
typedef double FLN(wide) __attribute__((vector_size(FL_WIDE * 8), aligned(8), may_alias));
typedef float FLN(narrow) __attribute__((vector_size(FL_WIDE * 4), aligned(4), may_alias));

static inline __attribute__((always_inline)) FLN(wide) FLN(widen)(const float *p)
{
#if defined(FL_WIDEN_FLOAT)
    return (FLN(wide))FL_WIDEN_FLOAT(p);
#else
    return __builtin_convertvector(*(const FLN(narrow) *)p, FLN(wide));
#endif
}

/* Whether any bit is set of n_bytes, a constant and a multiple of 8. */
static inline __attribute__((always_inline)) int FLN(any_of)(const void *at, const unsigned n_bytes)
{
    uint64_t any = 0;
#pragma GCC unroll 8
    for (unsigned i = 0; i < n_bytes; i += 8) {
        uint64_t word;
        memcpy(&word, (const char *)at + i, 8);
        any |= word;
    }
    return any != 0;
}

static inline __attribute__((always_inline)) int FLN(any_bit)(FLN(bytes) v)
{
#if defined(FL_ANY)
    return FL_ANY(v);
#else
    return FLN(any_of)(&v, sizeof v);
#endif
}

#include "margins.h"
#include "words.h"

#define FN(name) FL_NAME3(name, bf16, FL_ISA)
#define T float
#define D uint16_t
#define FL_IS_FLOAT 1
#define FL_IS_BF16 1
#include "row_body.h"
#include "worker_body.h"
#undef FN
#undef T
#undef D
#undef FL_IS_FLOAT
#undef FL_IS_BF16

#define FL_IS_BF16 0

#define FN(name) FL_NAME3(name, float, FL_ISA)
#define T float
#define D float
#define FL_IS_FLOAT 1
#ifdef FL_MASKED_LOAD_FLOAT
#define FL_MASKED_LOAD FL_MASKED_LOAD_FLOAT
#endif
#include "row_body.h"
#include "normals.h"
#include "worker_body.h"
#include "pass_body.h"
#include "sparse_average.h"
#define I int32_t
#define U uint32_t
#define FNI(name) FL_NAME4(name, float, narrow, FL_ISA)
#include "sparse_body.h"
#include "sparse_pass.h"
#undef I
#undef U
#undef FNI
#define I int64_t
#define U uint64_t
#define FNI(name) FL_NAME4(name, float, wide, FL_ISA)
#include "sparse_body.h"
#include "sparse_pass.h"
#undef I
#undef U
#undef FNI
#undef FN
#undef T
#undef D
#undef FL_IS_FLOAT
#undef FL_MASKED_LOAD

#define FN(name) FL_NAME3(name, double, FL_ISA)
#define T double
#define D double
#define FL_IS_FLOAT 0
#ifdef FL_MASKED_LOAD_DOUBLE
#define FL_MASKED_LOAD FL_MASKED_LOAD_DOUBLE
#endif
#include "row_body.h"
#include "normals.h"
#include "worker_body.h"
#include "pass_body.h"
#include "sparse_average.h"
#define I int32_t
#define U uint32_t
#define FNI(name) FL_NAME4(name, double, narrow, FL_ISA)
#include "sparse_body.h"
#include "sparse_pass.h"
#undef I
#undef U
#undef FNI
#define I int64_t
#define U uint64_t
#define FNI(name) FL_NAME4(name, double, wide, FL_ISA)
#include "sparse_body.h"
#include "sparse_pass.h"
#undef I
#undef U
#undef FNI
#undef FN
#undef T
#undef D
#undef FL_IS_FLOAT
#undef FL_MASKED_LOAD

#include "mean_body.h"

#define FL_SPARSE(name)                                                                    \
    {{FL_NAME4(name, float, narrow, FL_ISA), FL_NAME4(name, float, wide, FL_ISA)},         \
     {FL_NAME4(name, double, narrow, FL_ISA), FL_NAME4(name, double, wide, FL_ISA)}}

const fl_isa FL_NAME2(fl_isa, FL_ISA) = {
    .name = FL_ISA_NAME,
    .local_steps = {FL_NAME3(local_steps, float, FL_ISA), FL_NAME3(local_steps, double, FL_ISA),
                    FL_NAME3(local_steps, bf16, FL_ISA)},
    .make_block = {FL_NAME3(make_block, float, FL_ISA), FL_NAME3(make_block, double, FL_ISA)},
    .sparse_steps = FL_SPARSE(sparse_steps),
    .mark_visits = FL_SPARSE(mark_visits),
    .average_changed = {FL_NAME3(average_changed, float, FL_ISA), FL_NAME3(average_changed, double, FL_ISA)},
    .mean = FLN(mean),
    .evaluate = {FL_NAME3(evaluate, float, FL_ISA), FL_NAME3(evaluate, double, FL_ISA)},
    .scan = {FL_NAME3(scan, float, FL_ISA), FL_NAME3(scan, double, FL_ISA)},
    .sparse_evaluate = FL_SPARSE(sparse_evaluate),
    .sparse_scan = FL_SPARSE(sparse_scan),
    .sparse_copy = FL_SPARSE(sparse_copy),
};
