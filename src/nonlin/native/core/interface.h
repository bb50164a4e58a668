// The C interface of the core. Every pointer is the caller's; nothing is kept after a call returns.
#pragma once

#include <stdint.h>

#define NL_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

// Raised whenever a structure or a signature below changes; library.py refuses another number.
#define NONLIN_INTERFACE 6

// An expression as instructions. One instruction is seven numbers: opcode, destination, second destination
// (or 0), operands a, b, c (registers; 0 where unused), immediate. Registers: 0 is x, then the parameters,
// the constants, the outputs, temporary ones.
typedef struct {
  const int32_t* code;  // (instructions, 7)
  const double* constants;
  int32_t instructions, parameters, constant_count, outputs, registers;
} nl_program;

enum { NL_FLOAT32 = 0, NL_FLOAT64 = 1 };
enum { NL_OK = 0, NL_NO_MEMORY = 1, NL_BAD_ARGUMENT = 2 };

NL_EXPORT int32_t nl_interface(void);
NL_EXPORT int32_t nl_opcode_count(void);
NL_EXPORT const char* nl_opcode_name(int32_t opcode);
NL_EXPORT const char* nl_isa(void);  // "avx512", "avx2" or "base": what the calls below run on
// Choose an instruction set by name, for tests; 0 if this machine or build has not got it.
NL_EXPORT int32_t nl_use_isa(const char* name);

// K programs over K rows. Row k of `x` holds `count` elements and is evaluated with programs[k].
typedef struct {
  int32_t dtype, children, threads;
  int32_t per_channel;       // 0: one value per parameter; 1: one per channel
  int64_t count;             // elements of x per child
  int64_t channels, inner;   // a row has shape (count / (channels*inner), channels, inner)
  const nl_program* programs;     // (children)
  const void* x;                  // (children, count)
  const void* const* parameters;  // per child: (parameters) or (parameters, channels); may be null
  // Values: outputs[j] is (children, count), or null to drop output j of every child.
  void* const* outputs;
  int32_t output_count;
  // Products with an incoming gradient, instead of `outputs`: output 0 is df/dx, output 1 + p is df/dp.
  const void* gradient;                  // (children, count), or null
  void* gradient_x;                      // (children, count): gradient * df/dx
  void* const* gradient_parameters;      // per child: sums of gradient * df/dp, shaped like parameters
} nl_activation_call;

NL_EXPORT int32_t nl_activate(const nl_activation_call* call);

// One program over one array, for callers to whom a structure is too slow to fill. `out` is the value (the program's
// first output), or with a gradient gradient*df/dx; `theta` and `sums` are as `parameters` and
// `gradient_parameters`. `threads` is the most to use: few elements get fewer.
NL_EXPORT int32_t nl_apply(const nl_program* program, int32_t dtype, int32_t threads, int64_t count, int64_t channels,
                           int64_t inner, const void* x, const void* theta, const void* gradient, void* out,
                           void* sums);

// A multilayer perceptron: linear, activation, linear, ..., linear.
typedef struct {
  int32_t dtype, layers;       // layers: linear ones
  const int64_t* widths;       // (layers + 1): inputs, hidden ..., outputs
  int32_t bias;                // 0 or 1
  int32_t per_channel;         // activation parameters per channel of each hidden layer
  int32_t loss;                // 0 cross-entropy, 1 mean squared error
  int32_t optimiser;           // 0 SGD, 1 Adam, 2 AdamW
  double beta1, beta2, eps, weight_decay, momentum;
  int32_t nesterov;
  double clip;                 // largest norm of the gradient; 0 for none
  const double* schedule;      // (last_epoch*steps per epoch) factors of the learning rate, or null
  int64_t batch;               // rows per step; the last batch of an epoch may be smaller
  int64_t order_length;        // rows used per epoch
  int64_t first_epoch, last_epoch;  // train epochs first_epoch ... last_epoch - 1
  int64_t train_rows, valid_rows;
  const void *train_x, *valid_x;    // (rows, inputs)
  const void *train_y, *valid_y;    // classes: (rows) int64; otherwise (rows, outputs)
} nl_mlp;

// One child. `weights`, `first` and `second` are flat, in torch's order and layout: per linear layer the
// weight (out, in) and the bias (out), followed for a hidden layer by its activation's parameters.
typedef struct {
  const nl_program* value;       // output: f
  const nl_program* derivatives; // outputs: f, df/dx, df/dp ...
  void *weights, *first, *second;
  const int64_t* order;          // (last_epoch, order_length) row numbers
  double learning_rate;
  int64_t steps;                 // in and out: optimiser steps taken
  int32_t status;                // in and out: 0 running, 1 diverged (nothing is done)
  int64_t diverged_epoch;        // out, where it diverged
  // (last_epoch); entries of the epochs run are set. Of training, over the batches as they passed; its seconds
  // are those of the epoch without the validation.
  double *train_loss, *train_accuracy, *train_seconds, *valid_loss, *valid_accuracy;
} nl_child;

NL_EXPORT int32_t nl_train_mlp(const nl_mlp* network, nl_child* children, int32_t count, int32_t threads);

// K matrix products c = start + a*b. All matrices are dense and row-major; those of child k begin at
// k*stride elements (0: shared by all).
typedef struct {
  int32_t dtype, threads;
  int32_t a_transposed;  // a is (inner, rows) instead of (rows, inner)
  int32_t b_transposed;  // b is (columns, inner) instead of (inner, columns)
  int64_t children, rows, columns, inner;
  const void *a, *b, *start;  // start: (columns), added to every row, or null
  int64_t a_stride, b_stride, start_stride;
  void* c;  // (children, rows, columns)
} nl_product;

NL_EXPORT int32_t nl_multiply(const nl_product* product);

// y + rho*T(y) over y of shape (rows, channels, inner). T is straight lines: at the position p = y*stretch + shift,
// held to 0 ... segments - 1/2, it is intercept + slope*p of the segment floor(p).
typedef struct {
  int32_t dtype, threads;
  int64_t rows, channels, inner, segments;
  const void* lines;  // (2, segments): intercepts, slopes
  double stretch, shift;
  const void *rho, *y;   // (channels); (rows, channels, inner)
  const void* gradient;  // like y, or null for the value
  void* out;             // like y: the value, or gradient*d/dy of it
  void* gradient_rho;    // (channels): sums of gradient*T(y); or null
} nl_table_call;

NL_EXPORT int32_t nl_table_step(const nl_table_call* call);

// y + s*sum a_k z^k exp(-z*z/2) over x and y of shape (rows, channels, inner), z = (x - m)/s held to +-reach.
typedef struct {
  int32_t dtype, threads;
  int64_t rows, channels, inner, order;
  double mean, deviation, reach;
  const void *coefficients, *x, *y;  // (order, channels); y is not read for gradients
  const void* gradient;              // like x, or null for the value
  void* out;                         // like x: the value, or gradient*d/dx of the sum
  void* gradient_coefficients;       // (order, channels): sums of gradient*s*z^k*exp(-z*z/2); or null
} nl_hermite_call;

NL_EXPORT int32_t nl_hermite_step(const nl_hermite_call* call);

// An activation f0 and its correction in one pass over x (rows, channels, inner): the value `out`, its derivative
// `by_x`, and for a table the T(y) that it was made with, `by_rho`. All fields have 64 bits.
typedef struct {
  int64_t dtype, threads;
  int64_t rows, channels, inner;
  const nl_program* base;         // outputs: f0, df0/dx; no parameters. Null: x*Phi(x)
  const void* x;
  const float *mean, *deviation;  // of the outputs for a table, otherwise of x
  const void* numbers;            // (channels): rho; or (order, channels): the coefficients
  const void* lines;              // (2, segments) in deviations; null for Hermite terms
  int64_t segments, order;
  void *out, *by_x, *by_rho;      // like x
  // Some elements, if *due: f0 of them for a table; otherwise they and then f0 of them. Number i is element i, or
  // ((i + 1)*spread mod 2^31)*elements/2^31 where there are more than `samples`.
  const uint8_t* due;
  int64_t samples, spread;
  float* sample;                  // (samples) or (2, samples)
  double width, offset, reach;    // a position is y/(deviation*width) + offset - mean/(deviation*width)
} nl_adapted_call;

NL_EXPORT int32_t nl_adapt(const nl_adapted_call* call);

// The backward pass of `nl_adapt` over arrays of shape (rows, channels, inner): gradient*by_x, and the sums of
// gradient*by_rho, or of gradient*s*z^k*exp(-z*z/2) with z = (x - m)/s held to +-reach. All fields have 64 bits.
typedef struct {
  int64_t dtype, threads;
  int64_t rows, channels, inner, order;  // order: of the Hermite terms, 0 for a table
  const void *gradient, *by_x;
  const void *by_rho, *x;                // the one is read for a table, the other and the statistics for Hermite terms
  const float *mean, *deviation;
  void *out, *sums;                      // like x; (channels) or (order, channels)
  double reach;
} nl_adapted_gradient_call;

NL_EXPORT int32_t nl_adapt_backward(const nl_adapted_gradient_call* call);

// K normalisations over the last dimension of x (children, rows, width): (x - mean)/sqrt(variance + eps)*weight + bias.
typedef struct {
  int32_t dtype, threads;
  int64_t children, rows, width;
  double eps;
  const void *x, *weight, *bias;  // (children, width), or null
  void *mean, *inverse;           // (children, rows): set forward, read backward; inverse: of the deviation
  const void* gradient;           // like x, or null for the value
  void* out;                      // like x: the value, or the gradient by x
  void *gradient_weight, *gradient_bias;  // (children, width), or null
} nl_normalisation;

NL_EXPORT int32_t nl_normalise(const nl_normalisation* call);

// K two-dimensional convolutions of step 1: images (images, channels, height, width), kernels (filters, channels,
// tall, wide) with elements `spread` apart, borders of `pad` zeros. Whatever result is not null is computed.
typedef struct {
  int32_t dtype, threads;
  int64_t children, images, channels, height, width, filters, tall, wide, pad_y, pad_x, spread_y, spread_x;
  int64_t out_height, out_width;
  const void* x;
  int64_t x_stride;  // elements from one child's images to the next one's; 0: shared by all
  const void *weight, *bias;  // (children, filters, channels, tall, wide); (children, filters) or null
  void* out;                  // (children, images, filters, out_height, out_width)
  const void* gradient;       // like out
  void *gradient_x, *gradient_weight, *gradient_bias;  // (children, ...) like x, weight and bias
  int32_t x_last, out_last;  // whether channels come last: in x and its gradient; in out and its gradient
} nl_convolution;

NL_EXPORT int32_t nl_convolve(const nl_convolution* call);

// One optimiser step of K children, whose parameters lie in pieces: piece s of all children is (children, sizes[s]).
// Gradients may be changed. `first` and `second` are the moments.
typedef struct {
  int32_t dtype, threads, optimiser;  // as in nl_mlp
  int64_t children, segments, step;   // steps counted from 1
  const int64_t* sizes;
  void *const *parameters, *const *gradients, *const *first, *const *second;  // (segments)
  const double *weight_decays, *learning_rates;  // (segments); (children)
  double beta1, beta2, eps, momentum;
  int32_t nesterov;
  double clip_value, clip_norm;  // 0 for none; the norm is that of all of a child's gradients
} nl_step;

NL_EXPORT int32_t nl_take_step(const nl_step* call);

// Attention softmax(q*k'*scale)*v of K children: (children, batches, heads, positions, features), the last dimension
// dense, the others as far apart as said: q, k and v alike; out and its gradient; the gradients by q, k and v.
typedef struct {
  int32_t dtype, threads, causal;
  int64_t children, batches, heads, positions, features;
  double scale;
  int64_t child, batch, head, position;
  int64_t out_child, out_batch, out_head, out_position;
  int64_t by_child, by_batch, by_head, by_position;
  const void *q, *k, *v;
  void* out;
  void* shares;          // softmax's, (children, batches, heads, positions, positions up to whole cache lines)
  const void* gradient;  // null for the value
  void *by_q, *by_k, *by_v;
} nl_attention;

NL_EXPORT int32_t nl_attend(const nl_attention* call);

// Decisions of K children between classes. With x: their logarithms of softmax, else these are given. With targets
// (rows), shared by all: the mean negative logarithm of what counts, and `scale` times its gradient by x.
typedef struct {
  int32_t dtype, threads;
  int64_t children, rows, classes, ignored;  // ignored: a target that does not count
  const void* x;
  void* logarithms;  // (children, rows, classes)
  const int64_t* targets;
  void *loss, *gradient;  // (children), or null; like x, or null
  double scale;
} nl_decisions;

NL_EXPORT int32_t nl_decide(const nl_decisions* call);

// Means over windows (tall, wide) side by side, of planes (height, width) that they fill; or their backward pass.
typedef struct {
  int32_t dtype, backward;
  int64_t planes, height, width, tall, wide;
  const void* from;
  void* to;
  // Channels may come last: then `planes` are images*channels, and a tensor is (images, height, width, channels).
  int64_t channels;
  int32_t large_last, small_last;  // the one with windows; the one of their means
} nl_windows;

NL_EXPORT int32_t nl_pool(const nl_windows* call);

#ifdef __cplusplus
}
#endif
