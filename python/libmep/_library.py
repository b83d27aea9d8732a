# SPDX-License-Identifier: MIT
"""The shared library: where it is, whether it is the right one, and its functions with their types.

The declarations below are those of include/mep/*.h, word for word (a test compares them), and are turned into ctypes
signatures here. A function that returns a mep_status raises MepError instead. ctypes lets go of the interpreter's lock
in every call. No array is known here: that is _arrays.py.
"""
from __future__ import annotations

import ctypes
import os
import re
import threading
import weakref

from ._checks import integer

# MEP_ABI_VERSION of the headers whose declarations follow; a library of another one is refused.
ABI_VERSION = 4

DECLARATIONS = """
enum { MEP_POSITION_SIZE = 8192 };

typedef struct mep_bias_param {
    const char *name;
    int ndim;
    int64_t shape[2];
    int64_t size;
    int64_t offset;
} mep_bias_param;
typedef struct mep_attention_settings {
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t max_length;
    double scale;
    int bidirectional;
    mep_dtype dtype;
    int skip_far;
    double tolerance;
    mep_device device;
    void *stream;
} mep_attention_settings;
typedef struct mep_tensor_view {
    void *data;
    int64_t batch_stride, head_stride, token_stride;
} mep_tensor_view;
typedef struct mep_attention_terms {
    const float *table;
    int64_t table_length;
    const float *table_ahead;
    int64_t window;
    const float *sink;
    const float *bank;
    int64_t rank, extent;
    const float *log_kernels;
    int64_t kernels, log_kernels_length;
} mep_attention_terms;
typedef struct mep_attention_call {
    int64_t batch, queries, keys;
    mep_tensor_view q;
    mep_tensor_view k, v;
    mep_tensor_view out;
    float *lse;
    const int64_t *starts;
    const int64_t *ends;
    const double *gate;
    mep_tensor_view profiles;
    mep_tensor_view mixture;
} mep_attention_call;
typedef struct mep_attention_gradient {
    mep_tensor_view dout, dq;
    mep_tensor_view dk, dv;
    double *dtable;
    double *dtable_ahead;
    double *dsink;
    double *dgate;
    mep_tensor_view dprofiles, dmixture;
    double *dbank;
    double *dlog_kernels;
} mep_attention_gradient;
typedef struct mep_model_config {
    int64_t vocab_size;
    int64_t hidden_size;
    int64_t num_hidden_layers;
    int64_t num_attention_heads;
    int64_t num_key_value_heads;
    int64_t head_dim;
    int64_t intermediate_size;
    int64_t max_position_embeddings;
    double layer_norm_eps;
    double initializer_range;
    double rotary_emb_base;
    double rotary_pct;
    char position_encoding[MEP_POSITION_SIZE];
    mep_block block;
    mep_norm norm;
    mep_mlp mlp;
    mep_residual residual;
    int tie_word_embeddings;
    int embedding_layer_norm;
    int no_bias;
    int qkv_bias;
    mep_qk_norm qk_norm;
    int post_norm;
} mep_model_config;
typedef struct mep_save_settings {
    mep_dtype dtype;
    int64_t shard_size;
} mep_save_settings;
typedef struct mep_parameter {
    const char *name;
    const char *group;
    int ndim;
    int64_t shape[4];
    int64_t size;
    float *values;
} mep_parameter;
typedef struct mep_session_settings {
    int64_t batch, length;
    mep_dtype dtype;
    int training;
    int recompute;
    double tolerance;
    mep_device device;
} mep_session_settings;
typedef struct mep_generate_settings {
    int64_t max_tokens;
    double temperature;
    int64_t top_k;
    double top_p;
    uint64_t seed;
    int32_t stop_token;
    int64_t vocab_limit;
    mep_dtype dtype;
    double tolerance;
    mep_device device;
} mep_generate_settings;
typedef struct mep_decoder_settings {
    int64_t sequences;
    int64_t max_tokens;
    int64_t chunk;
    mep_dtype dtype;
    double tolerance;
} mep_decoder_settings;
typedef struct mep_eval_settings {
    int64_t length;
    int64_t stride;
    int64_t last;
    int64_t max_tokens;
    int64_t batch_tokens;
    mep_dtype dtype;
    double tolerance;
    mep_device device;
} mep_eval_settings;
typedef struct mep_eval_result {
    int64_t length, segments;
    int64_t tokens;
    double loss;
    double perplexity;
    double standard_error;
    double seconds;
} mep_eval_result;

typedef int (*mep_token_fn)(void *context, int32_t token);
typedef int (*mep_eval_fn)(void *context, int64_t done, int64_t total, double loss_so_far);
typedef void *(*mep_torch_find_fn)(void *context, const char *name);

const char *mep_error_message(void);
const char *mep_status_name(mep_status status);
const char *mep_version(void);
int mep_abi_version(void);
const char *mep_missing_libraries(void);
const char *mep_cpu_level_name(void);
int mep_set_threads(int n);
mep_status mep_device_check(mep_device device);

mep_status mep_bias_create(mep_bias **bias, const char *spec, int64_t heads, int64_t head_dim);
void mep_bias_destroy(mep_bias **bias);
void mep_bias_init(mep_bias *bias, uint64_t seed);
const char *mep_bias_spec(const mep_bias *bias);
int64_t mep_bias_param_count(const mep_bias *bias);
mep_status mep_bias_get_param(const mep_bias *bias, int64_t index, mep_bias_param *param);
int64_t mep_bias_param_values(const mep_bias *bias);
const double *mep_bias_params(const mep_bias *bias);
mep_status mep_bias_set_params(mep_bias *bias, const double *values, int64_t count);
mep_status mep_bias_set_train_length(mep_bias *bias, int64_t length);
mep_status mep_bias_at(const mep_bias *bias, const int64_t *distances, int64_t count, double *out);
int64_t mep_bias_threshold(const mep_bias *bias);
mep_status mep_bias_at_position(const mep_bias *bias, int64_t position, const int64_t *distances, int64_t count,
                                double *out);
mep_status mep_bias_table(const mep_bias *bias, int64_t length, float *table);
mep_status mep_bias_table_backward(const mep_bias *bias, int64_t length, const double *dtable, double *dparams);
mep_status mep_bias_reach(const mep_bias *bias, double bound, int64_t max_distance, int64_t *reach);
mep_status mep_alibi_slopes(int64_t heads, double *slopes);
const char *mep_position_help(void);

void mep_attention_defaults(mep_attention_settings *settings);
mep_status mep_attention_create(mep_attention **plan, const mep_attention_settings *settings);
void mep_attention_destroy(mep_attention **plan);
mep_status mep_attention_set_terms(mep_attention *plan, const mep_attention_terms *terms);
mep_status mep_attention_forward(mep_attention *plan, const mep_attention_call *call);
mep_status mep_attention_backward(mep_attention *plan, const mep_attention_call *call,
                                  const mep_attention_gradient *gradient);
double mep_attention_computed_fraction(const mep_attention *plan);
mep_status mep_torch_register(mep_torch_find_fn find, void *context);

mep_status mep_model_preset(const char *name, mep_model_config *config);
mep_status mep_model_create(mep_model **model, const mep_model_config *config, uint64_t seed);
mep_status mep_model_load_as(mep_model **model, const char *folder, const char *position, uint64_t seed);
void mep_save_defaults(mep_save_settings *settings);
mep_status mep_model_save(const mep_model *model, const char *folder, const mep_save_settings *settings);
mep_status mep_model_export(const mep_model *model, const char *folder, const mep_save_settings *settings,
                            const char **family);
void mep_model_destroy(mep_model **model);
const mep_model_config *mep_model_get_config(const mep_model *model);
int64_t mep_model_parameter_count(const mep_model *model);
mep_status mep_model_get_parameter(const mep_model *model, int64_t index, mep_parameter *parameter);
int mep_model_parameter_is_new(const mep_model *model, int64_t index);
void mep_session_defaults(mep_session_settings *settings);
mep_status mep_session_create(mep_session **session, mep_model *model, const mep_session_settings *settings);
void mep_session_destroy(mep_session **session);
mep_status mep_session_logits(mep_session *session, int64_t batch, int64_t length, const int32_t *tokens,
                              float *logits);
mep_status mep_session_losses(mep_session *session, int64_t batch, int64_t length, const int32_t *inputs,
                              const int32_t *targets, float *losses);
void mep_generate_defaults(mep_generate_settings *settings);
mep_status mep_generate(mep_model *model, const int32_t *prompt, int64_t count, const mep_generate_settings *settings,
                        mep_token_fn token, void *context);
void mep_decoder_defaults(mep_decoder_settings *settings);
mep_status mep_decoder_create(mep_decoder **decoder, mep_model *model, const mep_decoder_settings *settings);
void mep_decoder_destroy(mep_decoder **decoder);
mep_status mep_decoder_append(mep_decoder *decoder, int64_t sequence, int64_t count, const int32_t *tokens,
                              int64_t rows, float *logits);
mep_status mep_decoder_step(mep_decoder *decoder, int64_t count, const int64_t *sequences,
                            const int32_t *tokens, float *logits);
mep_status mep_decoder_copy(mep_decoder *decoder, int64_t to, int64_t from);
mep_status mep_decoder_clear(mep_decoder *decoder, int64_t sequence);
int64_t mep_decoder_length(const mep_decoder *decoder, int64_t sequence);
void mep_eval_defaults(mep_eval_settings *settings);
mep_status mep_evaluate(mep_model *model, const mep_dataset *data, const mep_eval_settings *settings,
                        mep_eval_fn progress, void *context, mep_eval_result *result);

mep_status mep_tokenizer_open(mep_tokenizer **tokenizer, const char *name);
void mep_tokenizer_destroy(mep_tokenizer **tokenizer);
const char *mep_tokenizer_name(const mep_tokenizer *tokenizer);
int64_t mep_tokenizer_vocab_size(const mep_tokenizer *tokenizer);
int32_t mep_tokenizer_end_of_document(const mep_tokenizer *tokenizer);
mep_status mep_tokenizer_encode(const mep_tokenizer *tokenizer, const char *text, int64_t size, int32_t **tokens,
                                int64_t *count);
void mep_tokens_free(int32_t **tokens);
mep_status mep_tokenizer_decode(const mep_tokenizer *tokenizer, int32_t token, const char **text, int64_t *size);
void mep_text_free(char **text);
mep_status mep_tokenizer_decode_text(const mep_tokenizer *tokenizer, const int32_t *tokens, int64_t count, char **text,
                                     int64_t *size);
typedef struct mep_special_tokens {
    const int32_t *before;
    int64_t before_count;
    const int32_t *after;
    int64_t after_count;
} mep_special_tokens;
mep_status mep_tokenizer_special_tokens(const mep_tokenizer *tokenizer, mep_special_tokens *special);
const char *mep_tokenizer_json(const mep_tokenizer *tokenizer, int64_t *size);
mep_status mep_dataset_open(mep_dataset **dataset, const char *prefix);
void mep_dataset_close(mep_dataset **dataset);
int64_t mep_dataset_tokens(const mep_dataset *dataset);
int64_t mep_dataset_documents(const mep_dataset *dataset);
int64_t mep_dataset_vocab_size(const mep_dataset *dataset);
const char *mep_dataset_tokenizer(const mep_dataset *dataset);
mep_status mep_dataset_read(const mep_dataset *dataset, int64_t start, int64_t count, int32_t *tokens);
int64_t mep_dataset_document_start(const mep_dataset *dataset, int64_t index);
"""


class MepError(RuntimeError):
    """A call of the library failed: its message (one line, what to do), and `status`, such as "MEP_ERROR_IO"."""

    __module__ = "libmep"  # the name under which users find it, in tracebacks too

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self):
        return MepError, (self.args[0], self.status)


# ---- From C declarations to ctypes ----

_SCALARS = {
    "void": None, "int": ctypes.c_int, "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64, "double": ctypes.c_double, "mep_device": ctypes.c_int, "mep_dtype": ctypes.c_int,
    "mep_norm": ctypes.c_int, "mep_mlp": ctypes.c_int, "mep_residual": ctypes.c_int, "mep_block": ctypes.c_int,
    "mep_qk_norm": ctypes.c_int,
    "mep_status": ctypes.c_int,
}


def _type(base, stars, types):
    """The ctypes type of a C type. Handles and arrays are plain addresses; structures and strings are themselves."""
    if stars == 2:
        return ctypes.POINTER(ctypes.c_void_p)
    if stars == 1 and base == "char":
        return ctypes.c_char_p
    if stars == 1:
        return ctypes.POINTER(types[base]) if base in types else ctypes.c_void_p
    return types[base] if base in types else _SCALARS[base]


def _split(declaration, types):
    """(name, type) of "const float *lse"; the name is "" where there is none."""
    base, stars, name = re.fullmatch(r"(?:const )?(\w+) ?(\**)(\w*)", declaration.strip()).groups()
    return name, _type(base, len(stars), types)


def _structure(name, body, types, sizes):
    fields = []
    for line in body.split(";"):
        if not line.strip():
            continue
        first, *others = line.split(",")
        array = re.search(r"\[(\w+)\]", first)
        field, kind = _split(re.sub(r"\[\w+\]", "", first), dict(types, char=ctypes.c_char))
        if array:
            kind = kind * int(sizes.get(array[1], array[1]))
        fields += [(field, kind)] + [(other.strip(), kind) for other in others]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def _parse(text):
    """(types, functions): structures and callbacks by name; name -> (result type, argument types, returns a status)."""
    text = re.sub(r"\s+", " ", text)
    sizes = dict(re.findall(r"enum \{ (\w+) = (\d+) \};", text))
    types, functions = {}, {}
    for name, body in re.findall(r"typedef struct (\w+) \{([^}]*)\}", text):
        types[name] = _structure(name, body, types, sizes)
    for result, name, body in re.findall(r"typedef (int |void \*)\(\*(\w+)\)\(([^)]*)\);", text):
        types[name] = ctypes.CFUNCTYPE(_split(result, types)[1], *(_split(part, types)[1] for part in body.split(",")))
    for result, name, body in re.findall(r"([\w ]+[ *]+)(mep_\w+)\(([^()]*)\);", text):
        arguments = [] if body == "void" else [_split(part, types)[1] for part in body.split(",")]
        functions[name] = _split(result, types)[1], arguments, result.strip() == "mep_status"
    return types, functions


TYPES, FUNCTIONS = _parse(DECLARATIONS)


# ---- Loading ----

def _candidates():
    """Paths to try, in order: the one that the user names, the one in this package, the one the system knows."""
    named = os.environ.get("LIBMEP_LIBRARY")
    if named:
        return [named]
    bundled = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libmep.so")
    return ([bundled] if os.path.exists(bundled) else []) + ["libmep.so.0"]


def _open():
    failures = []
    for path in _candidates():
        try:
            return ctypes.CDLL(path), path
        except OSError as error:
            failures.append(str(error))
    raise ImportError("libmep's shared library was not found (" + "; ".join(failures) + "): install the package from a "
                      "wheel, or name the file in the environment variable LIBMEP_LIBRARY")


def check_abi(library, path):
    """Refuse a library whose structures or functions may be others than those declared here."""
    library.mep_version.restype = ctypes.c_char_p
    version = library.mep_version().decode()
    number = library.mep_abi_version() if hasattr(library, "mep_abi_version") else "none"  # before 1 it had none
    if number != ABI_VERSION:
        raise ImportError(f"{path} is libmep {version} with the binary interface (ABI) {number}, and this package is "
                          f"for {ABI_VERSION}: install the package that belongs to the library, or name another "
                          "library in LIBMEP_LIBRARY")


def _raise(status, function, arguments):
    if status:
        raise MepError(lib.mep_error_message().decode("utf-8", "replace"), lib.mep_status_name(status).decode())
    return arguments


def _load():
    library, path = _open()
    try:
        check_abi(library, path)
        for name, (result, arguments, is_status) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            if is_status:
                function.errcheck = _raise
    except AttributeError as error:
        raise ImportError(f"{path} is not the libmep of this package: {error}") from None
    return library


lib = _load()


class Handle:
    """Owns one opaque object of the library, and keeps `owner` alive."""

    def __init__(self, create, destroy, *arguments, owner=None):
        self.pointer, self._destroy, self._owner = ctypes.c_void_p(), destroy, owner
        create(ctypes.byref(self.pointer), *arguments)

    def __del__(self):
        if self.pointer:
            self._destroy(ctypes.byref(self.pointer))

    def __reduce__(self):
        raise TypeError("an object of the C library belongs to this process and cannot be copied or pickled: copy the "
                        "Python object that owns it, or make a new one")


# ---- Calls on one object, one after another ----

_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """Held during each call on one object. If another thread holds it when the process forks, the object in the child
    is in the middle of a call that never ends there: every use of it is an error."""

    def __init__(self):
        self._lock, self._is_lost = threading.RLock(), False
        _locks.add(self)

    def __enter__(self):
        if self._is_lost:
            raise RuntimeError("another thread was in a call on this object when the process forked: make a new object "
                               "in the child")
        self._lock.acquire()

    def __exit__(self, *exception):
        self._lock.release()

    def check_after_fork(self):
        self._is_lost = not self._lock.acquire(blocking=False)
        if not self._is_lost:
            self._lock.release()


def _check_locks():
    for lock in list(_locks):
        lock.check_after_fork()


os.register_at_fork(after_in_child=_check_locks)


def version() -> str:
    """Version of the library, "MAJOR.MINOR.PATCH"."""
    return lib.mep_version().decode()


def missing_libraries() -> tuple[str, ...]:
    """Names of the libraries that this build of libmep lacks, such as "PCRE2": () in a wheel. A package built from
    sources leaves out what is not installed; what needs it raises MepError, which names the library."""
    return tuple(name for name in lib.mep_missing_libraries().decode().split(", ") if name)


def cpu_level() -> str:
    """The instruction set that the kernels use here: "c", "avx2", "avx512", "avx512_bf16", "amx_bf16" or
    "neon"."""
    return lib.mep_cpu_level_name().decode()


def set_threads(n: int = 0) -> int:
    """Use n threads (0 leaves the number); returns the number in force, which is always 1 in a forked child of a
    process with threads, unless clang compiled the library. Results do not depend on it."""
    if integer("n", n, ctypes.c_int) < 0:
        raise ValueError(f"n is {n}; it must be at least 1, or 0 to leave the number")
    return lib.mep_set_threads(n)


def position_help() -> str:
    """Every kernel with its options and every named encoding, one per line."""
    return lib.mep_position_help().decode()
