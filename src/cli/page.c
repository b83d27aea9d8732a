/* SPDX-License-Identifier: MIT */
/*
 * Writing a page of results.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/page.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"

enum { MOST_SVG = 64 << 20 };

static const char STYLE[] =
    "body { font: 15px/1.5 \"DejaVu Sans\", Verdana, sans-serif; color: #222; max-width: 1000px; margin: 2em auto; "
    "padding: 0 1em; }\n"
    "h1 { font-size: 1.6em; } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ddd; }\n"
    "h3 { font-size: 1.05em; margin-bottom: 0.3em; }\n"
    ".wide { overflow-x: auto; }\n"
    "table { border-collapse: collapse; margin: 0.7em 0; font-size: 0.9em; font-variant-numeric: tabular-nums; }\n"
    "th, td { padding: 0.25em 0.8em; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }\n"
    "th { border-bottom: 2px solid #888; } .name { text-align: left; }\n"
    "code, pre { font-family: \"DejaVu Sans Mono\", monospace; font-size: 0.92em; }\n"
    "pre { background: #f6f6f6; padding: 0.7em; white-space: pre-wrap; overflow-wrap: anywhere; }\n"
    "figure { margin: 1em 0; } figure svg { width: 100%; height: auto; } figcaption { color: #555; font-size: 0.9em; "
    "}\n"
    "@media print { body { max-width: none; margin: 0; } figure, table { break-inside: avoid; } }\n";

static void write(mep_page *page, const char *format, va_list args)
{
    char text[4096];
    vsnprintf(text, sizeof text, format, args);
    if (page->is_html)
        mep_write_html(page->file, text);
    else
        fputs(text, page->file);
}

void mep_page_begin(mep_page *page, const char *title)
{
    if (!page->is_html) return;
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
          page->file);
    mep_write_html(page->file, title);
    fprintf(page->file, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", STYLE);
}

void mep_page_end(mep_page *page)
{
    if (page->is_html) fputs("</body>\n</html>\n", page->file);
}

void mep_page_heading(mep_page *page, int level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (page->is_html)
        fprintf(page->file, "<h%d>", level);
    else
        fprintf(page->file, "%.*s ", level, "######");
    write(page, format, args);
    if (page->is_html)
        fprintf(page->file, "</h%d>\n", level);
    else
        fputs("\n\n", page->file);
    va_end(args);
}

void mep_page_paragraph(mep_page *page)
{
    if (page->is_html) fputs("<p>", page->file);
}

void mep_page_text(mep_page *page, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write(page, format, args);
    va_end(args);
}

void mep_page_name(mep_page *page, const char *name)
{
    fputs(page->is_html ? "<code>" : "`", page->file);
    mep_page_text(page, "%s", name);
    fputs(page->is_html ? "</code>" : "`", page->file);
}

void mep_page_close_paragraph(mep_page *page)
{
    fputs(page->is_html ? "</p>\n" : "\n\n", page->file);
}

void mep_page_table(mep_page *page, const mep_table *table)
{
    if (page->is_html) fputs("<div class=\"wide\">\n", page->file);
    mep_table_print(table, page->is_html ? MEP_TABLE_HTML : MEP_TABLE_MARKDOWN, page->file);
    fputs(page->is_html ? "</div>\n" : "\n", page->file);
}

void mep_page_code(mep_page *page, const char *text)
{
    fputs(page->is_html ? "<pre>" : "    ", page->file);
    if (page->is_html)
        mep_write_html(page->file, text);
    else
        fputs(text, page->file);
    fputs(page->is_html ? "</pre>\n" : "\n", page->file);
}

/* ---- Pictures ---- */

/* Whether `text` begins with one of the forms in which an SVG of gnuplot names an identifier; its length or 0. */
static size_t begins_identifier(const char *text)
{
    static const char *const forms[] = {" id='", " id=\"", "href='#", "href=\"#", "url(#"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strncmp(text, forms[i], strlen(forms[i])) == 0) return strlen(forms[i]);
    return 0;
}

/* Copy from <svg on, without its title and description, and with identifiers that no other picture of the page has. */
static void copy_svg(mep_page *page, const char *text)
{
    static const char *const skipped[] = {"<title>Gnuplot</title>", "<desc>"};
    const char *at = strstr(text, "<svg");
    while (at != NULL && *at != '\0') {
        const char *end = NULL;
        if (strncmp(at, skipped[0], strlen(skipped[0])) == 0) {
            at += strlen(skipped[0]);
            continue;
        }
        if (strncmp(at, skipped[1], strlen(skipped[1])) == 0 && (end = strstr(at, "</desc>")) != NULL) {
            at = end + strlen("</desc>");
            continue;
        }
        size_t length = begins_identifier(at);
        fwrite(at, 1, length > 0 ? length : 1, page->file);
        if (length > 0) fprintf(page->file, "p%d-", page->pictures);
        at += length > 0 ? length : 1;
    }
}

static mep_status include_svg(mep_page *page, const char *path)
{
    char *text = NULL;
    int64_t size = 0;
    MEP_TRY(mep_file_read(path, MOST_SVG, &text, &size));
    page->pictures++;
    copy_svg(page, text);
    mep_free(&text);
    return MEP_OK;
}

mep_status mep_page_picture(mep_page *page, const char *name, const char *caption)
{
    char *path = NULL, *file = NULL;
    MEP_TRY(mep_format(&file, "%s.%s", name, page->is_html ? "svg" : "png"));
    mep_status status = mep_path_join(&path, page->folder, file);
    if (status == MEP_OK && !page->is_html) {
        fprintf(page->file, "![%s](%s)\n\n", caption, file);
    } else if (status == MEP_OK && mep_file_exists(path)) {
        fputs("<figure>\n", page->file);
        status = include_svg(page, path);
        fputs("<figcaption>", page->file);
        mep_write_html(page->file, caption);
        fputs("</figcaption>\n</figure>\n", page->file);
    }
    mep_free(&path);
    mep_free(&file);
    return status;
}
