/* SPDX-License-Identifier: MIT */
/*
 * Gates, profiles, mixture weights and fire of a tile and a block.
 *
 * A gate is a sum over up to millions of tokens of which only differences count. It is float64, and a difference is
 * taken in float64 from the gate at the beginning of the tile before it is rounded to float32. Keys of earlier tiles
 * have a weight only where that difference is below some 100, so its error is below 1e-5. In the tile's own block the
 * error is 1e-7 of how far the gate has fallen since the beginning of the tile; rows after a fall of thousands, as
 * between documents, get what rounding has left out.
 */
#include "attention/content.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/integer.h"

/* A gate is far where it differs by more from that at the beginning of the tile: it has fallen by 64 per token, which
 * those of the models in docs/study do not reach. */
static const float FAR = 4096;

static double gate_at(const mep_content *c, int64_t key)
{
    return c->gate[key / BLOCK_KEYS % c->capacity * BLOCK_KEYS + key % BLOCK_KEYS];
}

/* An upper bound of sum_m c_m P_m(d) over d. */
static float profile_bound(const float *coefficients, const mep_head_terms *terms)
{
    float bound = 0;
    for (int64_t m = 0; m < terms->rank; m++) bound += fabsf(coefficients[m]) * terms->largest[m];
    return bound;
}

/* The factor at a distance is at least the weight of the kernel that is largest there. */
static float mixture_bound(const float *weights, const mep_head_terms *terms)
{
    float lowest = 1;
    for (int64_t m = 0; m < terms->kernels; m++) lowest = fminf(lowest, weights[m]);
    return -logf(lowest);
}

/* The tile computes the function of fire.h: see mep_fire_applies. */
static void begin_fire(const mep_head_terms *terms, const mep_tile *rows, mep_content_tile *tile)
{
    const mep_fire_tables *f = terms->fire;
    tile->fire = f;
    tile->bias = mep_terms_origin(terms->distances, f->mask);
    tile->far_bias = f->mask_far;
    for (int64_t r = 0; r < rows->rows; r++)
        tile->scale[r] = (float)(1 / log1p(f->c * (double)max_i64(f->first + rows->position + r, f->threshold)));
}

/* The largest value of the function from the nearest distance of row r on; the row is at `distance` or farther. */
float mep_content_fire_bound(const mep_content_tile *tile, const mep_head_terms *terms, int64_t r, int64_t distance)
{
    const mep_fire_tables *f = tile->fire;
    int64_t g = 0, at = terms->head * f->pieces;
    float x = mep_terms_origin(terms->distances, f->logarithm)[-distance] * tile->scale[r];
    while (g < f->pieces - 1 && f->knots[g] < x) g++;
    return fmaxf(f->slope[at + g] * x + f->offset[at + g], f->highest[at + g]) + f->error[terms->head];
}

static mep_fire_rows fire_rows(const mep_head_terms *terms, const mep_content_tile *tile, const mep_tile *rows,
                               int64_t at)
{
    const mep_fire_tables *f = tile->fire;
    return (mep_fire_rows){.rows = rows->rows,
                           .pieces = f->pieces,
                           .logarithm = mep_terms_origin(terms->distances, f->logarithm) + at,
                           .scale = tile->scale,
                           .knots = f->knots,
                           .slope = f->slope + terms->head * f->pieces,
                           .offset = f->offset + terms->head * f->pieces,
                           .rate = mep_terms_origin(terms->distances, f->rate) + at};
}

void mep_content_fire_backward(const mep_attention_kernels *kernels, const mep_head_terms *terms,
                               const mep_content_tile *tile, const mep_tile *rows, int64_t block, const float *g,
                               double *sums)
{
    const mep_fire_tables *f = tile->fire;
    float decline[TILE_ROWS];
    mep_fire_rows x = fire_rows(terms, tile, rows, block * BLOCK_KEYS - rows->position);
    for (int64_t r = 0; r < rows->rows; r++) {
        double p = (double)max_i64(f->first + rows->position + r, f->threshold);
        decline[r] = (float)((double)tile->scale[r] * p / (1 + f->c * p));
    }
    x.decline = decline;
    kernels->fire_gradient(&x, g, sums);
}

static int is_far(const mep_content_tile *tile, int64_t r)
{
    return fabsf(tile->gate[r]) > FAR;
}

void mep_content_begin(const mep_content *c, const mep_head_terms *terms, const mep_tile *rows, mep_content_tile *tile)
{
    *tile = (mep_content_tile){.bias = terms->bias, .far_bias = terms->far_bias};
    if (c->fire && mep_fire_applies(terms->fire, rows->position)) begin_fire(terms, rows, tile);
    if (c->gate != NULL) tile->base = gate_at(c, rows->position / TILE_ROWS * TILE_ROWS);
    for (int64_t r = 0; r < rows->rows; r++) {
        if (c->gate != NULL) tile->gate[r] = (float)(gate_at(c, rows->position + r) - tile->base);
        if (c->profiles != NULL)
            tile->profile[r] = profile_bound(c->profiles + (rows->first + r) * c->profile_row, terms);
        if (c->mixture != NULL && c->approximate)
            tile->slack[r] = mixture_bound(c->mixture + (rows->first + r) * c->mixture_row, terms);
        if (!is_far(tile, r)) continue;
        tile->has_far = 1;
        tile->slack[r] += 4 * FLT_EPSILON * fabsf(tile->gate[r]);
    }
}

/* add [rows, BLOCK_KEYS] += what rounding to float32 has left out of the differences of far rows to the keys of the
 * tile's own block. */
static void add_rest(const mep_content *c, const mep_content_tile *tile, const mep_tile *rows, int64_t key,
                     const float *gate_keys, float *add)
{
    for (int64_t r = 0; r < rows->rows; r++) {
        if (!is_far(tile, r)) continue;
        double gate = gate_at(c, rows->position + r);
        for (int64_t n = 0; n < min_i64(BLOCK_KEYS, c->keys - key); n++) {
            float rounded = tile->gate[r] - gate_keys[n];
            add[r * BLOCK_KEYS + n] += (float)(gate - gate_at(c, key + n) - (double)rounded);
        }
    }
}

mep_score_rows mep_content_block(const mep_attention_kernels *kernels, const mep_content *c,
                                 const mep_head_terms *terms, const mep_content_tile *tile, const mep_tile *rows,
                                 int64_t block, mep_content_buffers *b)
{
    int64_t key = block * BLOCK_KEYS, at = key - rows->position, distance = -at - (BLOCK_KEYS - 1);
    mep_score_rows x = {.bias = tile->bias + at};
    if (c->gate != NULL) {
        for (int64_t n = 0; n < BLOCK_KEYS; n++)
            b->gate_keys[n] = key + n < c->keys ? (float)(gate_at(c, key + n) - tile->base) : 0;
        x.gate_queries = tile->gate;
        x.gate_keys = b->gate_keys;
    }
    if (c->profiles != NULL && distance < terms->extent) {
        kernels->toeplitz(rows->rows, terms->rank, c->profiles + rows->first * c->profile_row, c->profile_row,
                          terms->bank + at, terms->bank_row, b->add);
        x.add = b->add;
    }
    if (tile->fire != NULL) {
        const mep_fire_rows f = fire_rows(terms, tile, rows, at);
        kernels->fire(&f, x.add != NULL, b->add);
        x.add = b->add;
    }
    if (tile->has_far && key == rows->position / TILE_ROWS * TILE_ROWS) {
        if (x.add == NULL) memset(b->add, 0, (size_t)(rows->rows * BLOCK_KEYS) * sizeof *b->add);
        add_rest(c, tile, rows, key, b->gate_keys, b->add);
        x.add = b->add;
    }
    if (c->mixture != NULL) {
        kernels->toeplitz(rows->rows, terms->kernels, c->mixture + rows->first * c->mixture_row, c->mixture_row,
                          terms->ratios + at, terms->ratio_row, b->factor);
        x.factor = b->factor;
    }
    return x;
}

void mep_content_softmax(int64_t count, const float *a, float *weights)
{
    float highest = -INFINITY, sum = 0;
    for (int64_t m = 0; m < count; m++) highest = fmaxf(highest, a[m]);
    for (int64_t m = 0; m < count; m++) sum += weights[m] = expf(a[m] - highest);
    for (int64_t m = 0; m < count; m++) weights[m] /= sum;
}
