/* SPDX-License-Identifier: MIT */
/*
 * Retrieval tasks: what the generators write, training data with the answers alone in its mask, and the measures of
 * synthetic tasks and of the passkey against hand-made ones.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include "eval/synthetic.h"
#include "mep/measure.h"
#include "train/sampler.h"

enum { KEYS_FROM = 0x40, FILLER_FROM = 0x60, BYTES = 257 };

static void refuse(mep_status status, const char *text, mep_status found)
{
    if (found != status || strstr(mep_error_message(), text) == NULL)
        fail_msg("%d, and \"%s\" is not in: %s", (int)found, text, mep_error_message());
}

static mep_synthetic parsed(const char *spec)
{
    mep_synthetic task;
    assert_int_equal(mep_synthetic_parse(&task, spec, 1), MEP_OK);
    return task;
}

static int is_value(int32_t token)
{
    return token >= 0x20 && token < KEYS_FROM;
}

static int is_key(int32_t token)
{
    return token >= KEYS_FROM && token < FILLER_FROM;
}

/* ---- Generators ---- */

static void check_mqar(const int32_t *tokens, const uint8_t *mask, int64_t length, int pairs, int queries)
{
    int64_t value_of[FILLER_FROM] = {0}, asked = 0;
    for (int64_t i = 0; i < 2 * pairs; i += 2) {
        assert_true(is_key(tokens[i]) && is_value(tokens[i + 1]));
        assert_true(value_of[tokens[i]] == 0); /* keys differ */
        value_of[tokens[i]] = tokens[i + 1];
        assert_true(mask[i] == 0 && mask[i + 1] == 0);
    }
    for (int64_t i = 2 * pairs; i < length; i++) {
        if (mask[i]) {
            assert_true(is_key(tokens[i - 1]) && value_of[tokens[i - 1]] == tokens[i]);
            value_of[tokens[i - 1]] = 0; /* asked for once */
            asked++;
        } else if (is_key(tokens[i])) {
            assert_true(i + 1 < length && mask[i + 1]);
        } else {
            assert_true(tokens[i] >= FILLER_FROM && tokens[i] < MEP_SYNTHETIC_VOCAB);
        }
    }
    assert_int_equal(asked, queries);
}

static void test_mqar(void **state)
{
    (void)state;
    static const int64_t lengths[] = {24, 25, 64, 301};
    static const struct {
        const char *spec;
        int pairs, queries;
    } cases[] = {{"mqar", 8, 4}, {"mqar:pairs=1,queries=1", 1, 1}, {"mqar:queries=6,pairs=6", 6, 6}};
    int first_positions[2] = {0};
    for (int c = 0; c < 3; c++)
        for (int l = 0; l < 4; l++)
            for (int64_t index = 0; index < 100; index++) {
                int32_t tokens[301];
                uint8_t mask[301];
                mep_synthetic task = parsed(cases[c].spec);
                mep_synthetic_fill(&task, 0, index, lengths[l], tokens, mask);
                check_mqar(tokens, mask, lengths[l], cases[c].pairs, cases[c].queries);
                if (c == 1 && l == 2) first_positions[mask[lengths[l] - 1] || mask[lengths[l] - 2] || mask[40]]++;
            }
    assert_true(first_positions[0] > 0); /* queries are not always at the end */
}

static void test_induction(void **state)
{
    (void)state;
    static const int64_t lengths[] = {4, 5, 64};
    int64_t places = 0;
    for (int l = 0; l < 3; l++)
        for (int64_t index = 0; index < 1000; index++) {
            int32_t tokens[64];
            uint8_t mask[64];
            int64_t marks = 0, first = -1, n = lengths[l];
            mep_synthetic task = parsed("induction");
            mep_synthetic_fill(&task, 0, index, n, tokens, mask);
            for (int64_t i = 0; i < n; i++) {
                marks += tokens[i] == '#';
                if (tokens[i] == '#' && first < 0) first = i;
                assert_int_equal(mask[i], i == n - 1);
            }
            assert_int_equal(marks, 2);
            assert_true(tokens[n - 2] == '#' && first < n - 3 && tokens[first + 1] == tokens[n - 1]);
            places |= (int64_t)1 << first;
        }
    assert_true(places == ((int64_t)1 << 61) - 1); /* the mark is everywhere */
}

/* Training data: the sequences of the generator, each a sequence of a training run, and only its answers have targets.
 * Test sequences are others. */
static void test_data(void **state)
{
    (void)state;
    enum { N = 40, L = 32 };
    char *path = run_path("mqar");
    mep_synthetic task = parsed("mqar:pairs=4,queries=2");
    mep_synthetic_settings s;
    mep_dataset *data;
    mep_sampler sampler;
    int seen[N] = {0};
    mep_synthetic_defaults(&s);
    s.length = L, s.sequences = N;
    assert_int_equal(mep_synthetic_write("mqar:pairs=4,queries=2", path, &s, NULL, NULL), MEP_OK);
    assert_int_equal(mep_dataset_open(&data, path), MEP_OK);
    assert_int_equal(mep_dataset_verify(data), MEP_OK);
    assert_int_equal(mep_dataset_documents(data), N);
    assert_int_equal(mep_dataset_tokens(data), N * L + 1);
    assert_string_equal(mep_dataset_tokenizer(data), "bytes");
    assert_int_equal(mep_sampler_init(&sampler, data, path, L, 7), MEP_OK);
    for (int64_t i = 0; i < N; i++) {
        int32_t inputs[L], targets[L], tokens[L];
        uint8_t mask[L];
        int64_t start = mep_sampler_start(&sampler, i), which = start / L;
        assert_int_equal(start % L, 0);
        seen[which] = 1;
        assert_int_equal(mep_sampler_read(&sampler, i, inputs, targets), MEP_OK);
        mep_synthetic_fill(&task, 0, which, L, tokens, mask);
        assert_memory_equal(inputs, tokens, sizeof inputs);
        for (int k = 0; k < L - 1; k++) assert_int_equal(targets[k], mask[k + 1] ? tokens[k + 1] : MEP_TARGET_NONE);
        assert_int_equal(targets[L - 1], MEP_TARGET_NONE);
        int32_t other[L];
        mep_synthetic_fill(&task, 1, which, L, other, mask);
        assert_true(memcmp(other, tokens, sizeof tokens) != 0);
    }
    for (int i = 0; i < N; i++) assert_int_equal(seen[i], 1);
    mep_dataset_close(&data);
    /* sequences of a part, in any epoch, and longer ones begin where a document does */
    for (int64_t length = L; length <= 2 * L; length += L) {
        assert_int_equal(mep_dataset_open_split(&data, path, "9,1", MEP_SPLIT_TRAIN), MEP_OK);
        assert_int_equal(mep_sampler_init(&sampler, data, path, length, 7), MEP_OK);
        for (int64_t i = 0; i < 10 * N; i++) assert_int_equal(mep_sampler_start(&sampler, i) % L, 0);
        mep_dataset_close(&data);
    }
}

static int stop(void *context, int64_t done, int64_t total)
{
    int64_t *calls = context;
    assert_true(done > 0 && done <= total);
    return ++*calls == 2;
}

static void test_refused_specs(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *text;
        int64_t length;
    } wrong[] = {
        {"", "those are mqar[:pairs=N,queries=N] and induction", 64},
        {"mqars", "\"mqars\" is not a synthetic task", 64},
        {"mqar:", "is not an option of the task mqar", 64},
        {"mqar:pairs=33", "pairs of mqar must be a number from 1 to 32", 64},
        {"mqar:pairs=4x", "pairs of mqar must be a number", 64},
        {"mqar:pairs=", "pairs of mqar must be a number", 64},
        {"mqar:keys=4", "is not an option of the task mqar", 64},
        {"induction:pairs=4", "is not an option of the task induction", 64},
        {"mqar:pairs=2,queries=3", "more queries (3) than pairs (2)", 64},
        {"mqar", "length 23 is too short for the task mqar, which needs 24", 23},
        {"induction", "needs 4 tokens", 3},
        {"mqar", "at least one", 0},
    };
    mep_synthetic_settings s;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mep_synthetic_defaults(&s);
        s.length = wrong[i].length;
        refuse(MEP_ERROR_ARGUMENT, wrong[i].text,
               mep_synthetic_write(wrong[i].spec, run_path("wrong"), &s, NULL, NULL));
    }
    int64_t calls = 0;
    char path[720];
    mep_synthetic_defaults(&s);
    refuse(MEP_INTERRUPTED, "stopped", mep_synthetic_write("mqar", run_path("stopped"), &s, stop, &calls));
    static const char *const suffixes[] = {".bin", ".idx", ".json", ".mask", ".bin.tmp", ".mask.tmp", ".sizes.tmp"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(path, sizeof path, "%s%s", run_path("stopped"), suffixes[i]);
        assert_int_equal(mep_file_exists(path), 0);
    }
}

/* ---- Measures ---- */

static mep_status task_with(mep_model *model, const char *task, const mep_measure_settings *settings, mep_measure *m)
{
    const mep_measure_call call = {.model = model, .settings = settings};
    return mep_measure_synthetic(&call, task, m);
}

static mep_status passkey_with(mep_model *model, const mep_dataset *data, double depth,
                               const mep_measure_settings *settings, mep_measure *m)
{
    const mep_measure_call call = {.model = model, .data = data, .settings = settings};
    return mep_measure_passkey(&call, depth, m);
}

static mep_model *byte_model(const char *position, float factor)
{
    mep_train_settings s = settings_for(position);
    mep_model *model;
    s.model.vocab_size = BYTES;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    for (int64_t t = 0; t < model->count; t++)
        for (int64_t i = 0; model->tensors[t].ndim == 2 && i < model->tensors[t].size; i++)
            ((float *)model->tensors[t].data)[i] *= factor;
    return model;
}

static double value_of(const mep_measure *m, const char *name, int64_t length, double at)
{
    for (int64_t i = 0; i < m->count; i++)
        if (strcmp(m->values[i].name, name) == 0 && m->values[i].length == length &&
            (m->values[i].at == at || (isnan(at) && isnan(m->values[i].at))))
            return m->values[i].value;
    fail_msg("no %s at length %d", name, (int)length);
    return NAN;
}

/* `exact` is the fraction of answers that are the likeliest token of the logits. A model that always says one token
 * finds the answers that are this token. */
static void test_synthetic_measure(void **state)
{
    (void)state;
    enum { L = 40, N = 60 };
    mep_model *model = byte_model("mep", 8);
    mep_synthetic task = parsed("mqar");
    mep_session *session;
    mep_session_settings settings;
    mep_measure_settings s;
    mep_measure m = {0};
    float *logits = calloc((size_t)L * BYTES, sizeof *logits);
    double right = 0, loss = 0;
    /* among the values, so that some answers are found: the output of all other tokens is far lower */
    float *out = model->tensors[mep_tensor_index(model, EMBED_OUT, 0)].data;
    for (int64_t t = 0; t < BYTES; t++)
        for (int64_t k = 0; k < 32 && !is_value((int32_t)t); k++) out[t * 32 + k] = 0;
    mep_session_defaults(&settings);
    settings.length = L;
    assert_int_equal(mep_session_create(&session, model, &settings), MEP_OK);
    for (int64_t i = 0; i < N; i++) {
        int32_t tokens[L];
        uint8_t mask[L];
        mep_synthetic_fill(&task, 1, i, L, tokens, mask);
        assert_int_equal(mep_session_logits(session, 1, L, tokens, logits), MEP_OK);
        for (int64_t p = 1; p < L; p++) {
            const float *row = logits + (p - 1) * BYTES;
            double sum = 0;
            int best = 0;
            if (!mask[p]) continue;
            for (int t = 0; t < BYTES; t++) {
                if (row[t] > row[best]) best = t;
                sum += exp((double)row[t]);
            }
            right += best == tokens[p];
            loss += log(sum) - (double)row[tokens[p]];
        }
    }
    mep_measure_defaults(&s);
    s.length = L, s.samples = N, s.batch_tokens = 7 * L;
    assert_int_equal(task_with(model, "mqar", &s, &m), MEP_OK);
    assert_string_equal(m.name, "mqar");
    assert_true(right > 0);
    assert_true(fabs(value_of(&m, "exact", L, NAN) - right / (4 * N)) < 1e-12);
    assert_true(fabs(value_of(&m, "loss", L, NAN) - loss / (4 * N)) < 1e-4);
    int64_t count = m.count;
    s.length = 20;
    refuse(MEP_ERROR_ARGUMENT, "too short", task_with(model, "mqar", &s, &m));
    assert_int_equal(m.count, count);
    mep_measure_free(&m);
    mep_session_destroy(&session);
    mep_model_destroy(&model);
    mep_train_settings small = settings_for("mep"); /* 64 tokens */
    assert_int_equal(mep_model_create(&model, &small.model, 3), MEP_OK);
    s.length = L;
    refuse(MEP_ERROR_ARGUMENT, "needs 127", task_with(model, "mqar", &s, &m));
    mep_model_destroy(&model);
    free(logits);
}

/* A model that is trained on short sequences finds the answers, and then a long filler does not hide them all. */
static void test_learned(void **state)
{
    (void)state;
    mep_synthetic_settings data;
    mep_train_settings s = settings_for("rotary");
    mep_model *model;
    mep_measure_settings ms;
    mep_measure m = {0};
    mep_synthetic_defaults(&data);
    data.length = 8, data.sequences = 4000;
    assert_int_equal(mep_synthetic_write("mqar:pairs=1,queries=1", run_path("learn"), &data, NULL, NULL), MEP_OK);
    s.model.vocab_size = BYTES, s.length = 8, s.batch_size = 64, s.micro_batch_size = 64, s.steps = 150;
    s.model.max_position_embeddings = 8;
    snprintf(s.data, sizeof s.data, "%s", run_path("learn"));
    assert_int_equal(mep_train_start(run_path("learned"), &s, NULL, NULL), MEP_OK);
    assert_int_equal(mep_model_load(&model, run_path("learned")), MEP_OK);
    mep_measure_defaults(&ms);
    ms.length = 8;
    assert_int_equal(task_with(model, "mqar:pairs=1,queries=1", &ms, &m), MEP_OK);
    if (!(value_of(&m, "exact", 8, NAN) > 0.9)) fail_msg("only %g are found", value_of(&m, "exact", 8, NAN));
    mep_measure_free(&m);
    mep_model_destroy(&model);
}

/* ---- Passkey ---- */

static void write_text(const char *path, const char *text, int64_t copies)
{
    mep_tokenizer *bytes;
    mep_dataset_writer *writer;
    int32_t tokens[512];
    int64_t size = (int64_t)strlen(text);
    for (int64_t i = 0; i < size; i++) tokens[i] = (unsigned char)text[i];
    assert_int_equal(mep_tokenizer_bytes(&bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_create(&writer, path, bytes), MEP_OK);
    for (int64_t i = 0; i < copies; i++) assert_int_equal(mep_dataset_writer_append(writer, tokens, size), MEP_OK);
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
    mep_tokenizer_destroy(&bytes);
}

/* The key of a trial, and the wrong one. */
static void draw(uint64_t seed, uint64_t trial, char key[6], char wrong[6])
{
    uint64_t stream = mep_random_stream("passkey");
    for (uint64_t i = 0; i < 5; i++) {
        uint64_t digit = mep_random_bits(seed, stream, 2 * (trial * 5 + i)) % 10;
        key[i] = (char)('0' + (int)digit);
        wrong[i] = (char)('0' + (int)((digit + 1 + mep_random_bits(seed, stream, 2 * (trial * 5 + i) + 1) % 9) % 10));
        assert_true(key[i] != wrong[i]);
    }
    key[5] = wrong[5] = '\0';
}

typedef struct answer {
    char text[16];
    int count;
} answer;

static int add_token(void *context, int32_t token)
{
    answer *a = context;
    a->text[a->count++] = (char)token;
    return 0;
}

static double key_loss(mep_session *session, const char *text, int64_t length)
{
    int32_t tokens[512];
    float losses[512];
    double sum = 0;
    for (int64_t i = 0; i <= length; i++) tokens[i] = (unsigned char)text[i];
    assert_int_equal(mep_session_losses(session, 1, length, tokens, tokens + 1, losses), MEP_OK);
    for (int64_t i = length - 6; i < length; i++) sum += (double)losses[i];
    return sum;
}

/* Filler of one letter, so that the text of every trial is known: it is 200 tokens and the last digit. */
static void test_passkey(void **state)
{
    (void)state;
    enum { L = 200, N = 12 };
    static const double depths[] = {0, 0.5, 1};
    mep_model *model = byte_model("alibi", 6);
    mep_dataset *data;
    mep_session *session;
    mep_session_settings settings;
    mep_generate_settings greedy;
    mep_measure_settings s;
    mep_measure m = {0};
    write_text(run_path("filler"), "a", 1000);
    assert_int_equal(mep_dataset_open(&data, run_path("filler")), MEP_OK);
    mep_session_defaults(&settings);
    settings.length = L;
    assert_int_equal(mep_session_create(&session, model, &settings), MEP_OK);
    mep_generate_defaults(&greedy);
    greedy.max_tokens = 6, greedy.temperature = 0;
    mep_measure_defaults(&s);
    s.length = L, s.samples = N;
    for (int d = 0; d < 3; d++) {
        double exact = 0, saved = 0;
        for (uint64_t trial = 0; trial < N; trial++) {
            char key[2][6], hidden[128], text[512], filler[L + 1];
            int32_t tokens[L];
            answer found = {.count = 0};
            double loss[2];
            draw(1, trial, key[0], key[1]);
            int size = snprintf(hidden, sizeof hidden, " The pass key is %s. Remember it. %s is the pass key.", key[0],
                                key[0]);
            int others = L + 1 - size - (int)strlen(" What is the pass key? The pass key is 12345");
            int before = (int)(depths[d] * others + 0.5);
            memset(filler, 'a', L);
            for (int k = 0; k < 2; k++) {
                int n = snprintf(text, sizeof text, "%.*s%s%.*s What is the pass key? The pass key is %s", before,
                                 filler, hidden, others - before, filler, key[k]);
                assert_int_equal(n, L + 1);
                loss[k] = key_loss(session, text, L);
            }
            for (int i = 0; i < L - 5; i++) tokens[i] = (unsigned char)text[i];
            assert_int_equal(mep_generate(model, tokens, L - 5, &greedy, add_token, &found), MEP_OK);
            exact += found.text[0] == ' ' && memcmp(found.text + 1, key[0], 5) == 0;
            saved += loss[1] - loss[0];
        }
        assert_int_equal(passkey_with(model, data, depths[d], &s, &m), MEP_OK);
        assert_true(value_of(&m, "exact", L, depths[d]) == exact / N);
        if (!(fabs(value_of(&m, "saved", L, depths[d]) - saved / N) < 1e-4))
            fail_msg("depth %g: %.9g nats, not %.9g", depths[d], value_of(&m, "saved", L, depths[d]), saved / N);
    }
    refuse(MEP_ERROR_ARGUMENT, "from 0 to 1", passkey_with(model, data, 1.01, &s, &m));
    refuse(MEP_ERROR_ARGUMENT, "from 0 to 1", passkey_with(model, data, NAN, &s, &m));
    s.length = 101;
    refuse(MEP_ERROR_ARGUMENT, "the passkey's own text of 102 tokens", passkey_with(model, data, 0, &s, &m));
    s.length = 1103;
    refuse(MEP_ERROR_ARGUMENT, "too few to hide a passkey", passkey_with(model, data, 0, &s, &m));
    mep_measure_free(&m);
    mep_session_destroy(&session);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* ---- Other tokenizers ---- */

/* A BPE whose tokens are pieces of the passkey's text, so that a key has another number of tokens than digits. */
static mep_tokenizer *train_tokenizer(void)
{
    static const char text[] =
        "The pass key is 12345. Remember it. 12345 is the pass key. What is the pass key? 67 67 67";
    mep_tokenizer_train_settings s;
    mep_tokenizer_trainer *trainer;
    mep_tokenizer *tokenizer;
    mep_tokenizer_train_defaults(&s);
    s.vocab_size = 300, s.min_frequency = 1;
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &s), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_add(trainer, text, (int64_t)strlen(text)), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_finish(&trainer, NULL, NULL, &tokenizer), MEP_OK);
    return tokenizer;
}

typedef struct token_list {
    int32_t tokens[512];
    int64_t count;
} token_list;

static int64_t add_text(token_list *list, const mep_tokenizer *tokenizer, const char *text)
{
    int32_t *tokens;
    int64_t count;
    assert_int_equal(mep_tokenizer_encode(tokenizer, text, (int64_t)strlen(text), &tokens, &count), MEP_OK);
    memcpy(list->tokens + list->count, tokens, (size_t)count * sizeof *tokens);
    list->count += count;
    mep_tokens_free(&tokens);
    return count;
}

/* The loss on the last `scored` tokens of a list. */
static double end_loss(mep_model *model, const token_list *list, int64_t scored)
{
    mep_session *session;
    mep_session_settings settings;
    float losses[512];
    double sum = 0;
    int64_t length = list->count - 1;
    mep_session_defaults(&settings);
    settings.length = length;
    assert_int_equal(mep_session_create(&session, model, &settings), MEP_OK);
    assert_int_equal(mep_session_losses(session, 1, length, list->tokens, list->tokens + 1, losses), MEP_OK);
    for (int64_t i = length - scored; i < length; i++) sum += (double)losses[i];
    mep_session_destroy(&session);
    return sum;
}

/* The filler is one token again; the keys of a trial may have different numbers of tokens. */
static void test_passkey_of_bpe(void **state)
{
    (void)state;
    enum { L = 140, N = 16 };
    mep_tokenizer *tokenizer = train_tokenizer();
    mep_dataset_writer *writer;
    mep_dataset *data;
    int32_t filler[600];
    mep_measure_settings s;
    mep_measure m = {0};
    mep_train_settings t = settings_for("alibi");
    mep_model *model;
    double saved = 0;
    int64_t fewest = L, most = 0;
    for (int i = 0; i < 600; i++) filler[i] = 'b';
    assert_int_equal(mep_dataset_writer_create(&writer, run_path("bpe"), tokenizer), MEP_OK);
    assert_int_equal(mep_dataset_writer_add(writer, filler, 600, 0), MEP_OK);
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
    assert_int_equal(mep_dataset_open(&data, run_path("bpe")), MEP_OK);
    t.model.vocab_size = mep_tokenizer_vocab_size(tokenizer);
    assert_int_equal(mep_model_create(&model, &t.model, 3), MEP_OK);
    for (uint64_t trial = 0; trial < N; trial++) {
        char key[2][6], hidden[128], end[16];
        token_list before = {.count = 0}, question = {.count = 0}, ends[2] = {{.count = 0}, {.count = 0}};
        draw(1, trial, key[0], key[1]);
        snprintf(hidden, sizeof hidden, " The pass key is %s. Remember it. %s is the pass key.", key[0], key[0]);
        add_text(&before, tokenizer, hidden);
        add_text(&question, tokenizer, " What is the pass key? The pass key is");
        for (int k = 0; k < 2; k++) {
            snprintf(end, sizeof end, " %s", key[k]);
            int64_t count = add_text(&ends[k], tokenizer, end);
            fewest = count < fewest ? count : fewest, most = count > most ? count : most;
        }
        int64_t longest = ends[0].count > ends[1].count ? ends[0].count : ends[1].count;
        int64_t others = L + 1 - before.count - question.count - longest;
        for (int k = 0; k < 2; k++) {
            token_list all = before; /* depth 0: all filler is between the key and the question */
            for (int64_t i = 0; i < others; i++) all.tokens[all.count++] = 'b';
            memcpy(all.tokens + all.count, question.tokens, (size_t)question.count * sizeof *all.tokens);
            all.count += question.count;
            memcpy(all.tokens + all.count, ends[k].tokens, (size_t)ends[k].count * sizeof *all.tokens);
            all.count += ends[k].count;
            saved += (k == 1 ? 1 : -1) * end_loss(model, &all, ends[k].count) / N;
        }
    }
    assert_true(fewest < most); /* otherwise this tests too little */
    mep_measure_defaults(&s);
    s.length = L, s.samples = N;
    assert_int_equal(passkey_with(model, data, 0, &s, &m), MEP_OK);
    if (!(fabs(value_of(&m, "saved", L, 0) - saved) < 1e-4))
        fail_msg("%.9g nats, not %.9g", value_of(&m, "saved", L, 0), saved);
    mep_measure_free(&m);
    mep_model_destroy(&model);
    mep_dataset_close(&data);
    mep_tokenizer_destroy(&tokenizer);
}

/* A model that has learned one key by heart finds it, and no other. */
static void test_known_passkey(void **state)
{
    (void)state;
    char key[6], wrong[6], text[256];
    mep_train_settings s = settings_for("alibi");
    mep_model *model;
    mep_dataset *data;
    mep_measure_settings ms;
    mep_measure m = {0};
    draw(1, 0, key, wrong);
    snprintf(text, sizeof text, "What is the pass key? The pass key is %s ", key);
    write_text(run_path("known"), text, 400);
    s.model.vocab_size = BYTES, s.steps = 60, s.length = 48, s.model.max_position_embeddings = 48;
    s.batch_size = 8, s.micro_batch_size = 8;
    snprintf(s.data, sizeof s.data, "%s", run_path("known"));
    assert_int_equal(mep_train_start(run_path("knows"), &s, NULL, NULL), MEP_OK);
    assert_int_equal(mep_model_load(&model, run_path("knows")), MEP_OK);
    assert_int_equal(mep_dataset_open(&data, run_path("known")), MEP_OK);
    mep_measure_defaults(&ms);
    ms.length = 160, ms.samples = 1;
    assert_int_equal(passkey_with(model, data, 0.5, &ms, &m), MEP_OK);
    assert_true(value_of(&m, "exact", 160, 0.5) == 1);
    assert_true(value_of(&m, "saved", 160, 0.5) > 5);
    ms.seed = 2, ms.length = 161;
    assert_int_equal(passkey_with(model, data, 0.5, &ms, &m), MEP_OK);
    assert_true(value_of(&m, "exact", 161, 0.5) == 0);
    mep_measure_free(&m);
    mep_dataset_close(&data);
    /* data that does not name its tokenizer */
    char json[720];
    snprintf(json, sizeof json, "%s.json", run_path("known"));
    assert_int_equal(remove(json), 0);
    assert_int_equal(mep_dataset_open(&data, run_path("known")), MEP_OK);
    refuse(MEP_ERROR_ARGUMENT, "tokenizer", passkey_with(model, data, 0.5, &ms, &m));
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mqar),
                                       cmocka_unit_test(test_induction),
                                       cmocka_unit_test(test_data),
                                       cmocka_unit_test(test_refused_specs),
                                       cmocka_unit_test(test_synthetic_measure),
                                       cmocka_unit_test(test_learned),
                                       cmocka_unit_test(test_passkey),
                                       cmocka_unit_test(test_passkey_of_bpe),
                                       cmocka_unit_test(test_known_passkey)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
