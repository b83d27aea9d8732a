# SPDX-License-Identifier: MIT
#
# Style of all pictures of mep: colors, marks, axes. Line type n + 8 is line type n dashed, n + 16 dotted.
# The colors are those of Okabe and Ito without yellow: readers with any color vision can tell them apart.
set encoding utf8
colors = '#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #000000 #888888'
marks = '7 5 9 13 11 15 6 4'
line_types = 24 # MEP_PICTURE_STYLES
do for [i = 1:8] {
    set linetype i linecolor rgb word(colors, i) pointtype int(word(marks, i)) pointsize 1.3 linewidth 2
    set linetype 8 + i linecolor rgb word(colors, i) pointtype int(word(marks, i % 8 + 1)) pointsize 1.3 linewidth 2 dashtype 2
    set linetype 16 + i linecolor rgb word(colors, i) pointtype int(word(marks, (i + 1) % 8 + 1)) pointsize 1.3 linewidth 2 dashtype 3
}
set border 3 linecolor '#444444'
set tics nomirror out scale 0.6 textcolor '#222222'
set grid xtics ytics linetype 1 linewidth 0.6 linecolor '#dddddd'

larger(a, b) = a > b ? a : b
smaller(a, b) = a < b ? a : b

# Ticks of a logarithmic axis from axis_low to axis_high: digits x 10**p for the powers p that `every` divides. log_digits
# and log_every choose the densest ticks of which there are at most `most`.
dense = '1 1.5 2 3 4 5 6 8'
log_tick(digits, k, p) = word(digits, k) * 10.0**p
is_log_tick(y) = y >= axis_low && y <= axis_high
log_count(digits, every) = sum [p = int(floor(log10(axis_low))):int(floor(log10(axis_high)))] \
    (p % every ? 0 : sum [k = 1:words(digits)] is_log_tick(log_tick(digits, k, p)))
log_digits(most) = log_count(dense, 1) <= most ? dense : log_count('1 2 5', 1) <= most ? '1 2 5' : '1'
log_every(digits, every, most) = log_count(digits, every) <= most ? every : log_every(digits, every + 1, most)
log_first(every) = int(floor(floor(log10(axis_low)) / every)) * every
log_label(y) = y < 1e6 ? sprintf('%.10g', y) : sprintf('%.0e', y)
