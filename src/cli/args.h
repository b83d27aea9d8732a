/* SPDX-License-Identifier: MIT */
/*
 * Command-line options from a table: parsing with range checks, and the --help page from the same rows.
 *
 *     int64_t steps = 1000;
 *     mep_option options[] = {
 *         MEP_OPT_GROUP("Length of the run"),
 *         MEP_OPT_INT("--steps", 'n', "N", &steps, 1, 1000000000, "optimizer steps"),
 *         MEP_OPT_END,
 *     };
 *     mep_usage usage = {.command = "train", .arguments = "DATASET", .summary = "Train a model.", .options = options,
 *                        .min_arguments = 1, .max_arguments = 1};
 *     int count, code = mep_args_parse(&usage, argc, argv, &count);
 *     if (code != MEP_ARGS_GO) return code;           the positional arguments are argv[1 .. count]
 *
 * Before the call, the target of an option has its default value, which the help page shows.
 */
#ifndef MEP_CLI_ARGS_H
#define MEP_CLI_ARGS_H

#include <stddef.h>
#include <stdint.h>

enum { MEP_ARGS_GO = -1, MEP_ARGS_LIST = 64 };

typedef enum mep_option_kind {
    MEP_OPTION_END = 0,
    MEP_OPTION_GROUP,  /* a heading of the help page */
    MEP_OPTION_FLAG,   /* sets an int to `value_set`; takes no value */
    MEP_OPTION_INT,    /* int64_t; 50K is 50000, 2M is 2000000, 1G is 1000000000 */
    MEP_OPTION_LENGTH, /* int64_t; a number of tokens in which 4K is 4096 and 1M is 1048576 */
    MEP_OPTION_BYTES,  /* int64_t, from 1: a size as transformers writes it, 500MB, 50GB (powers of 1000), 2GiB, 4096 */
    MEP_OPTION_REAL,   /* double, finite */
    MEP_OPTION_TEXT,   /* const char *, points into argv */
    MEP_OPTION_CHOICE, /* int, the index of the word in `choices` */
    MEP_OPTION_LENGTHS, /* mep_lengths: lengths separated by commas */
    MEP_OPTION_TEXTS /* mep_texts: the option may be repeated; each value may hold several, separated by ';', or by ','
                        if no ':' or '=' precedes it (bias specs with options and mixtures contain commas) */
} mep_option_kind;

typedef struct mep_lengths {
    int64_t count;
    int64_t values[MEP_ARGS_LIST];
} mep_lengths;

typedef struct mep_texts {
    int64_t count;
    const char *values[MEP_ARGS_LIST]; /* point into argv */
} mep_texts;

/* One row of the table; use the macros below to write it. */
typedef struct mep_option {
    mep_option_kind kind;
    const char *name;  /* "--steps"; the heading of a group */
    char letter;       /* 'n' for -n; 0: none */
    const char *value; /* the value's name in the help page: "N", "FILE" */
    const char *help;
    union {
        int *flag;
        int64_t *integer;
        double *real;
        const char **text;
        int *choice;
        mep_lengths *lengths;
        mep_texts *texts;
    } target;
    int64_t min, max;           /* range of integers and lengths, both included */
    double low, high;           /* range of reals, both included */
    int value_set;              /* the value that a flag sets */
    int may_be_empty;           /* the text may be "" */
    int whole;                  /* each value of MEP_OPTION_TEXTS is one text, with all its characters */
    const char *const *choices; /* ended by NULL */
    const char *default_text;   /* shown instead of the target's value; "" shows none */
    int given;                  /* set by mep_args_parse */
} mep_option;

/* Rows. LETTER is a character or 0, VALUE the name of the value. mep_args_default shows another default than the value
 * of the target, such as "all cores" for 0. */
#define MEP_OPT_GROUP(TITLE)                                                                                           \
    {                                                                                                                  \
        .kind = MEP_OPTION_GROUP, .name = (TITLE)                                                                      \
    }
#define MEP_OPT_FLAG(NAME, LETTER, TARGET, HELP)                                                                       \
    {                                                                                                                  \
        .kind = MEP_OPTION_FLAG, .name = (NAME), .letter = (LETTER), .target.flag = (TARGET), .value_set = 1,          \
        .help = (HELP)                                                                                                 \
    }
#define MEP_OPT_FLAG_OFF(NAME, LETTER, TARGET, HELP)                                                                   \
    {                                                                                                                  \
        .kind = MEP_OPTION_FLAG, .name = (NAME), .letter = (LETTER), .target.flag = (TARGET), .value_set = 0,          \
        .help = (HELP)                                                                                                 \
    }
#define MEP_OPT_INT(NAME, LETTER, VALUE, TARGET, MIN, MAX, HELP)                                                       \
    {                                                                                                                  \
        .kind = MEP_OPTION_INT, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.integer = (TARGET),      \
        .min = (MIN), .max = (MAX), .help = (HELP)                                                                     \
    }
#define MEP_OPT_LENGTH(NAME, LETTER, VALUE, TARGET, MIN, MAX, HELP)                                                    \
    {                                                                                                                  \
        .kind = MEP_OPTION_LENGTH, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.integer = (TARGET),   \
        .min = (MIN), .max = (MAX), .help = (HELP)                                                                     \
    }
#define MEP_OPT_BYTES(NAME, LETTER, VALUE, TARGET, HELP)                                                               \
    {                                                                                                                  \
        .kind = MEP_OPTION_BYTES, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.integer = (TARGET),    \
        .help = (HELP)                                                                                                 \
    }
#define MEP_OPT_REAL(NAME, LETTER, VALUE, TARGET, LOW, HIGH, HELP)                                                     \
    {                                                                                                                  \
        .kind = MEP_OPTION_REAL, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.real = (TARGET),        \
        .low = (LOW), .high = (HIGH), .help = (HELP)                                                                   \
    }
#define MEP_OPT_TEXT(NAME, LETTER, VALUE, TARGET, HELP)                                                                \
    {                                                                                                                  \
        .kind = MEP_OPTION_TEXT, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.text = (TARGET),        \
        .help = (HELP)                                                                                                 \
    }
/* A text that may be "". */
#define MEP_OPT_WORDS(NAME, LETTER, VALUE, TARGET, HELP)                                                               \
    {                                                                                                                  \
        .kind = MEP_OPTION_TEXT, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.text = (TARGET),        \
        .may_be_empty = 1, .help = (HELP)                                                                              \
    }
#define MEP_OPT_CHOICE(NAME, LETTER, VALUE, TARGET, CHOICES, HELP)                                                     \
    {                                                                                                                  \
        .kind = MEP_OPTION_CHOICE, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.choice = (TARGET),    \
        .choices = (CHOICES), .help = (HELP)                                                                           \
    }
#define MEP_OPT_LENGTHS(NAME, LETTER, VALUE, TARGET, MIN, MAX, HELP)                                                   \
    {                                                                                                                  \
        .kind = MEP_OPTION_LENGTHS, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.lengths = (TARGET),  \
        .min = (MIN), .max = (MAX), .help = (HELP)                                                                     \
    }
#define MEP_OPT_TEXTS(NAME, LETTER, VALUE, TARGET, HELP)                                                               \
    {                                                                                                                  \
        .kind = MEP_OPTION_TEXTS, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.texts = (TARGET),      \
        .help = (HELP)                                                                                                 \
    }
/* Texts of which each value is one, whatever characters it has. */
#define MEP_OPT_WHOLE_TEXTS(NAME, LETTER, VALUE, TARGET, HELP)                                                         \
    {                                                                                                                  \
        .kind = MEP_OPTION_TEXTS, .name = (NAME), .letter = (LETTER), .value = (VALUE), .target.texts = (TARGET),      \
        .whole = 1, .help = (HELP)                                                                                     \
    }
#define MEP_OPT_END                                                                                                    \
    {                                                                                                                  \
        .kind = MEP_OPTION_END                                                                                         \
    }

/* The arguments and options of a subcommand. */
typedef struct mep_usage {
    const char *command;              /* "train" */
    const char *arguments;            /* in the usage line: "DATASET [FILE ...]", "" for none */
    const char *summary;              /* the first paragraph of the help page */
    const char *notes;                /* printed as it is after the options: examples, lists; or NULL */
    mep_option *options;              /* ended by MEP_OPT_END */
    int min_arguments, max_arguments; /* positional */
} mep_usage;

/* Parse argv[1 .. argc-1]. Forms of an option: "--name value", "--name=value", "-n value", "-nvalue". Options and
 * positional arguments may be mixed; "--" ends the options. The positional arguments are moved to argv[1 .. *count].
 * Returns MEP_ARGS_GO, or the exit code that the subcommand returns: 0 after printing --help on stdout, 2 after one
 * line on stderr. */
int mep_args_parse(const mep_usage *usage, int argc, char **argv, int *count);

/* 1 if the option with this name was given in the last mep_args_parse. */
int mep_args_given(const mep_option *options, const char *name);

/* Find the index of each text in `words`, which NULL terminates; a text may occur once. Returns MEP_ARGS_GO, or the
 * exit code after one line on stderr that names `option`. */
int mep_args_words(const char *command, const char *option, const mep_texts *texts, const char *const *words,
                   int64_t *indices);

/* Show `text` as the default of the option `name`; "" shows none. */
void mep_args_default(mep_option *options, const char *name, const char *text);

/* The number of letters to insert, remove or replace to make b from a; for "did you mean". */
int64_t mep_edit_distance(const char *a, const char *b);

#endif
