/* Team floor: a pass over the data, block by block: objectives, gradients, the check of the data,
 * copies in the order of the visits. Slices are in team.c. */
#include "team.h"

#include "arith.h"

#include <string.h>

/* Rounds a row of n entries into blocks of bfloat16s; returns whether an entry has none near it. */
static int round_row(const float *x, int64_t n, uint32_t *to)
{
    enum { HALF = FL_BF16_BLOCK / 2 };
    int32_t largest = 0;
    for (int64_t first = 0; first < n; first += FL_BF16_BLOCK, to += HALF) {
        const int64_t some = n - first < FL_BF16_BLOCK ? n - first : FL_BF16_BLOCK;
        float block[FL_BF16_BLOCK] = {0};
        memcpy(block, x + first, (size_t)some * sizeof *block);
        for (int i = 0; i < FL_BF16_BLOCK; i++) {
            const int32_t magnitude = (int32_t)(fl_float_bits(block[i]) & 0x7fffffffu);
            largest = magnitude > largest ? magnitude : largest;
        }
        for (int i = 0; i < HALF; i++)
            to[i] = fl_bf16_bits(block[i]) >> 16 | fl_bf16_bits(block[i + HALF]);
    }
    return largest >= FL_BF16_BEYOND;
}

/* Returns how many rows have no bfloat16s near them. */
static int64_t copy_dense_rows(const fl_pass *pass, int64_t first, int64_t last)
{
    int64_t n_beyond = 0;
    const fl_shards *shards = pass->shards;
    const size_t bytes = fl_entry_bytes(shards), row_bytes = (size_t)shards->n_features * bytes;
    for (int64_t i = first; i < last; i++) {
        const int64_t row = shards->order ? (int64_t)shards->order[i] : i;
        if (i + 8 < last && shards->order)
            __builtin_prefetch((const char *)shards->X +
                               (size_t)((int64_t)shards->order[i + 8] * shards->x_stride) * bytes);
        const char *x = (const char *)shards->X + (size_t)(row * shards->x_stride) * bytes;
        if (pass->bf16_words)
            n_beyond += round_row((const float *)x, shards->n_features, (uint32_t *)pass->to_X + i * pass->bf16_words);
        else
            memcpy((char *)pass->to_X + (size_t)i * row_bytes, x, row_bytes);
    }
    return n_beyond;
}

static void copy_columns(const fl_pass *pass, int64_t first, int64_t last)
{
    const fl_shards *shards = pass->shards;
    const size_t bytes = fl_entry_bytes(shards);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = shards->order ? (int64_t)shards->order[i] : i;
        memcpy((char *)pass->to_y + (size_t)i * bytes, (const char *)shards->y + (size_t)row * bytes, bytes);
        if (shards->s)
            memcpy((char *)pass->to_s + (size_t)i * bytes, (const char *)shards->s + (size_t)row * bytes, bytes);
    }
}

void fl_pass_open(fl_pass *pass)
{
    atomic_init(&pass->next, 0);
    fl_take_own_cpu(&pass->cpus);
    fl_open(&pass->gate);
}

void fl_pass_work(fl_pass *pass, double *work)
{
    const fl_shards *shards = pass->shards;
    const int sparse = shards->indices != NULL;
    for (;;) {
        const int64_t block = atomic_fetch_add_explicit(&pass->next, 1, memory_order_relaxed);
        if (block >= pass->n_blocks)
            return;
        const int64_t first = block * pass->rows_per_block;
        const int64_t end = first + pass->rows_per_block;
        const int64_t last = end < shards->n_samples ? end : shards->n_samples;
        double *out = pass->out + block * pass->out_ld;
        switch (pass->kind) {
        case FL_PASS_OBJECTIVE:
        case FL_PASS_EXCESS:
        case FL_PASS_GRADIENT:
            (sparse ? pass->isa->sparse_evaluate[shards->dtype][shards->wide] : pass->isa->evaluate[shards->dtype])(
                shards, pass->loss, first, last, &pass->iterates, pass->kind == FL_PASS_EXCESS, out,
                pass->kind == FL_PASS_GRADIENT ? out + pass->iterates.n : NULL, work);
            break;
        case FL_PASS_SCAN:
            if (sparse)
                pass->isa->sparse_scan[shards->dtype][shards->wide](shards, first, last, out, work);
            else
                pass->isa->scan[shards->dtype](shards, first, last, out);
            break;
        default:
            if (sparse)
                out[0] = pass->isa->sparse_copy[shards->dtype][shards->wide](shards, first, last, pass->to_X,
                                                                             pass->to_indices, pass->to_indptr);
            else
                out[0] = (double)copy_dense_rows(pass, first, last);
            copy_columns(pass, first, last);
        }
    }
}
