/* SPDX-License-Identifier: MIT */
/*
 * A page of results as Markdown, or as one self-contained HTML file: headings, paragraphs, tables and pictures. Text is
 * escaped where the format needs it; HTML has its pictures inline as SVG and refers to no other file.
 */
#ifndef MEP_CLI_PAGE_H
#define MEP_CLI_PAGE_H

#include <stdio.h>

#include "cli/text_table.h"

typedef struct mep_page {
    FILE *file;
    int is_html;
    const char *folder; /* of the pictures */
    int pictures;       /* so far */
} mep_page;

/* HTML: the head of the file with the title, and its end. Markdown has neither. */
void mep_page_begin(mep_page *page, const char *title);
void mep_page_end(mep_page *page);

/* level 1 is the title of the page. */
void mep_page_heading(mep_page *page, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A paragraph: begin, any number of texts, end. */
void mep_page_paragraph(mep_page *page);
void mep_page_text(mep_page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mep_page_name(mep_page *page, const char *name); /* in the font of code */
void mep_page_close_paragraph(mep_page *page);

void mep_page_table(mep_page *page, const mep_table *table);

/* A line as it is, in the font of code. */
void mep_page_code(mep_page *page, const char *text);

/* The picture NAME of the folder, with its caption: Markdown refers to NAME.png, HTML includes NAME.svg. Nothing if the
 * file does not exist. */
mep_status mep_page_picture(mep_page *page, const char *name, const char *caption);

#endif
