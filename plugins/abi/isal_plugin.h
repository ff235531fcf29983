/* The C ABI between isal and a plugin that differentiates ONNX models, version 2.
 *
 * A plugin is a shared library that exports isal_plugin_table(). What holds for every function of the table:
 *   - it returns a status and, unless that is ISAL_OK, writes why into the caller's message buffer; no C++
 *     exception and no longjmp leaves it;
 *   - handles are numbers that the plugin looks up: one that was freed is answered with ISAL_HANDLE;
 *   - what goes in is read only during the call; what comes out as a pointer belongs to the plugin and lives
 *     as long as the handle it came from (for describe: as long as the process);
 *   - lengths are explicit, text is UTF-8 without a terminating zero;
 *   - calls may come from any thread; calls on one model run one after the other.
 *
 * A batch is a list of named arrays: the model's input and, for whatever takes the loss, the annotations that the
 * loss graph asks for; the first axis of each is the batch. Every sum over a batch is a sum, never a mean.
 */
#ifndef ISAL_PLUGIN_H
#define ISAL_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ISAL_PLUGIN_ABI_VERSION 3

/* Handles; 0 is none. */
typedef uint64_t isal_model;  /* a loaded model */
typedef uint64_t isal_vector; /* a vector over one model's parameters in scope, on its device */
typedef uint64_t isal_arrays; /* a list of named arrays in host memory */

typedef int32_t isal_status;
enum {
    ISAL_OK = 0,
    ISAL_ARGUMENT = 1,    /* null pointer, number out of range, text that is not UTF-8 */
    ISAL_HANDLE = 2,      /* handle never given out, or freed */
    ISAL_MODEL = 3,       /* not a valid ONNX model, or one this ABI cannot express */
    ISAL_UNSUPPORTED = 4, /* a valid model with operators the plugin does not have */
    ISAL_DEVICE = 5,      /* a device that is not there */
    ISAL_SHAPE = 6,       /* batch, annotation or vector of the wrong shape or element kind */
    ISAL_NOT_FINITE = 7,  /* NaN or infinity in a weight, an input or a result */
    ISAL_BACKEND = 8,     /* the library under the plugin refused */
    ISAL_INTERNAL = 9     /* a panic or exception that was caught: a defect of the plugin */
};

/* Element kinds, numbered as ONNX's TensorProto.DataType. */
typedef int32_t isal_kind;
enum { ISAL_F32 = 1, ISAL_I64 = 7, ISAL_BOOL = 9, ISAL_F64 = 11 };

/* What a named array is to the model. */
typedef int32_t isal_role;
enum {
    ISAL_OUTPUT = 0,    /* a value the graph computes */
    ISAL_PARAMETER = 1, /* a parameter in scope */
    ISAL_STATISTIC = 2, /* a running statistic of BatchNormalization */
    ISAL_MOMENTUM = 3,  /* the momentum buffer of a parameter */
    ISAL_TANGENT = 4,   /* the derivative of the value of that name */
    ISAL_LOSS = 5,      /* the loss of each sample, [N] */
    ISAL_LOSS_TANGENT = 6, /* its derivative, [N] */
    ISAL_INPUT = 7      /* an input of a batch: the model's, or an annotation */
};

typedef int32_t isal_curvature;
enum {
    ISAL_HESSIAN = 0,         /* second derivatives of the loss */
    ISAL_GAUSS_NEWTON = 1,    /* J^T H_out J, H_out the Hessian of the loss in the model's values */
    ISAL_EMPIRICAL_FISHER = 2 /* sum_n J_n^T g_n g_n^T J_n, g_n the gradient of sample n's loss in those values */
};

typedef int32_t isal_decay;
enum {
    ISAL_DECAY_MATRICES = 0, /* parameters with two axes or more */
    ISAL_DECAY_ALL = 1       /* all in scope */
};

/* Bytes or text; data may be null when len is 0. */
typedef struct {
    const uint8_t *data;
    size_t len;
} isal_bytes;

/* The caller's buffer for an explanation. len is set by every call: bytes of the whole message (0 after
 * success), more than capacity when it was cut short. */
typedef struct {
    uint8_t *data;
    size_t capacity;
    size_t len;
} isal_message;

/* A dense row-major array in host memory. */
typedef struct {
    const void *data;
    size_t len; /* bytes */
    const size_t *dims;
    size_t rank;
    isal_kind kind;
    int32_t reserved; /* 0 */
} isal_array;

typedef struct {
    isal_bytes name;
    isal_array array;
    isal_role role;
    int32_t reserved; /* 0 */
} isal_named_array;

typedef struct {
    isal_bytes name;    /* tch */
    isal_bytes version; /* of the plugin */
    isal_bytes backend; /* libtorch 2.13.0 */
    const isal_bytes *devices; /* cpu, cuda:0 */
    size_t device_count;
    const isal_bytes *ops; /* sorted; "Conv", or "domain::Name" outside the standard domain */
    size_t op_count;
    size_t threads; /* an operator uses by default */
} isal_description;

typedef struct {
    isal_bytes name;
    const int64_t *dims; /* -1 where the model does not fix one */
    size_t rank;
    uint32_t ranked; /* whether the rank is known: 0 or 1 */
    isal_kind kind;  /* as the model declares it; 0 when it does not */
} isal_value;

typedef struct {
    const isal_value *parameters; /* in scope, in the order vectors hold them */
    size_t parameter_count;
    const isal_value *outputs; /* of the graph, in its order; behind them inner values that the loss is taken of */
    size_t output_count;
    const size_t *bound; /* positions among them of what the loss is taken of, in the order of the bindings */
    size_t bound_count;
    const isal_value *annotations; /* inputs of the loss graph that a batch has to bring */
    size_t annotation_count;
    isal_value input;
    size_t dimension; /* entries of a vector */
} isal_model_info;

/* An input of the loss graph that is a value of the model: an output, or an inner value. */
typedef struct {
    isal_bytes input;
    isal_bytes value;
} isal_binding;

/* The task is the loss graph: an ONNX model whose inputs are values of the model (by bindings) and annotations
 * (every other input), and whose one output is the loss [N] of each image, differentiable in the model's values.
 * Without one the model can be run, and its first output differentiated along a direction.
 * Values that the property isal.held of either graph names, separated by commas, have no derivative. */
typedef struct {
    isal_bytes model;             /* the bytes of an ONNX file */
    isal_bytes folder;            /* of external data; empty when all data is in the bytes */
    const isal_bytes *parameters; /* initializers that take part, in the order vectors shall hold them */
    size_t parameter_count;
    isal_bytes loss;              /* the bytes of the loss graph, its data within; empty for none */
    const isal_binding *bindings;
    size_t binding_count;
    isal_bytes device; /* cpu, cuda, cuda:N */
    isal_kind kind;    /* ISAL_F32 or ISAL_F64: what to compute in */
    uint32_t threads;  /* an operator may use on the CPU; 0 leaves it to the plugin */
} isal_load;

/* grad <- grad * min(1, clip_norm / (||grad|| + 1e-6)) where clip_norm > 0;
 * g <- grad + weight_decay * theta; b <- momentum * b + g (b <- g the first time);
 * theta <- theta - learning_rate * (nesterov ? g + momentum * b : b); grad is of the mean loss.
 * The step of parameters with fewer than two axes is bias_rate times as long. */
typedef struct {
    double learning_rate;
    double momentum;
    double weight_decay;
    double clip_norm; /* over all parameters in scope; 0 for none */
    double bias_rate;
    uint64_t seed; /* of what is random in the step */
    isal_decay decay;
    uint32_t nesterov; /* 0 or 1 */
} isal_train_step;

/* message may be null everywhere; every other pointer may not, unless said. */
typedef struct {
    uint32_t abi_version;
    uint32_t reserved;
    size_t table_size; /* later versions may append functions */

    isal_status (*describe)(const isal_description **out, isal_message *message);

    isal_status (*load)(const isal_load *load, isal_model *out, isal_message *message);
    /* Vectors made with the model stay valid to read and free. */
    isal_status (*model_free)(isal_model model, isal_message *message);
    isal_status (*model_info)(isal_model model, const isal_model_info **out, isal_message *message);

    /* All outputs for a batch, in evaluation mode; annotations need not be there. */
    isal_status (*forward)(isal_model model, const isal_named_array *batch, size_t count, isal_arrays *out,
                           isal_message *message);
    /* The loss of each sample, [N], in evaluation mode: one array. */
    isal_status (*losses)(isal_model model, const isal_named_array *batch, size_t count, isal_arrays *out,
                          isal_message *message);
    /* Sums over the batch, in evaluation mode. */
    isal_status (*gradient)(isal_model model, const isal_named_array *batch, size_t count, double *loss,
                            isal_vector *out, isal_message *message);
    isal_status (*curvature_product)(isal_model model, isal_curvature curvature, const isal_named_array *batch,
                                     size_t count, isal_vector v, isal_vector *out, isal_message *message);
    /* The values that the loss is taken of, each followed by its derivative along v (ISAL_TANGENT); behind them, when
     * the batch has annotations, the loss of each sample and its derivative, annotations and held values fixed. */
    isal_status (*jvp)(isal_model model, const isal_named_array *batch, size_t count, isal_vector v, isal_arrays *out,
                       isal_message *message);

    isal_status (*vector_zeros)(isal_model model, isal_vector *out, isal_message *message);
    isal_status (*vector_copy)(isal_vector v, isal_vector *out, isal_message *message);
    isal_status (*vector_dot)(isal_vector a, isal_vector b, double *out, isal_message *message);
    isal_status (*vector_axpy)(double alpha, isal_vector x, isal_vector y, isal_message *message);
    isal_status (*vector_scale)(double alpha, isal_vector x, isal_message *message);
    /* Entries as kind (ISAL_F32, ISAL_F64) into data, of exactly len bytes. */
    isal_status (*vector_download)(isal_vector v, isal_kind kind, void *data, size_t len, isal_message *message);
    /* entries: one axis, ISAL_F32 or ISAL_F64. */
    isal_status (*vector_upload)(isal_model model, const isal_array *entries, isal_vector *out,
                                 isal_message *message);
    isal_status (*vector_free)(isal_vector v, isal_message *message);

    /* One step in training mode. loss: the sum over the batch before the step; outputs (may be null): the values
     * that the loss is taken of, from before the step. */
    isal_status (*train_step)(isal_model model, const isal_train_step *step, const isal_named_array *batch,
                              size_t count, double *loss, isal_arrays *outputs, isal_message *message);
    /* Everything training changes: parameters, running statistics, momentum buffers that exist. */
    isal_status (*state_get)(isal_model model, isal_arrays *out, isal_message *message);
    /* Overwrites the arrays given, by name and role. */
    isal_status (*state_set)(isal_model model, const isal_named_array *arrays, size_t count,
                             isal_message *message);

    isal_status (*arrays_count)(isal_arrays arrays, size_t *out, isal_message *message);
    /* What the array points to lives until arrays_free. */
    isal_status (*arrays_get)(isal_arrays arrays, size_t index, isal_named_array *out, isal_message *message);
    isal_status (*arrays_free)(isal_arrays arrays, isal_message *message);
} isal_plugin_table_v2;

/* The exported symbol; the table is valid for the life of the process. */
const isal_plugin_table_v2 *isal_plugin_table(void);

#ifdef __cplusplus
}
#endif

#endif
