# Frame of a picture of one plot. The legend is to the right of the curves; long names go below, where they take no width.
# In pixels: a row of the legend is 32 high; a name is 100 wide, and 12 more per character.
if (!exists('name')) { name = ARG0[1:strlen(ARG0) - 3] }
data = name.'.dat'
if (!exists('heading')) { heading = name }
if (!exists('unit')) { unit = 'tokens' }
if (!exists('train_length')) { train_length = 0 }
if (!exists('curves')) {
    stats data using 1 nooutput
    curves = STATS_blocks
    array labels[curves]
    array styles[curves]
    array points[curves]
    do for [c = 1:curves] {
        labels[c] = sprintf('curve %d', c)
        styles[c] = (c - 1) % line_types + 1
        stats data index c - 1 using (valid(2)) nooutput
        points[c] = STATS_sum
    }
}
longest = 0
do for [c = 1:curves] { longest = larger(longest, strlen(labels[c])) }
is_below = longest > 18
columns = is_below ? larger(1100 / (100 + 12 * longest), 1) : 1
rows = (curves + columns - 1) / columns
height = is_below ? 750 + 32 * larger(rows - 3, 0) : larger(750, 160 + 32 * curves)

if (!exists('format')) { format = 'png' }
if (format eq 'svg') {
    set terminal svg size 1200,height noenhanced background '#ffffff' font 'DejaVu Sans,15' linewidth 1.5
} else {
    set terminal pngcairo size 1200,height noenhanced background '#ffffff' font 'DejaVu Sans,15' linewidth 1.5
}
set output name.'.'.format
set title heading font 'DejaVu Sans,18' offset 0,0.6
if (is_below) {
    set key outside center bottom horizontal maxcols columns title ' ' font ',15' Left reverse samplen 2.5 spacing 1.35
    set rmargin 5
} else {
    set key outside right top Left reverse samplen 2.5 spacing 1.35
}

# 2048 as 2K.
length_text(n, k) = k < 3 && n > 0 && n % 1024 == 0 ? length_text(n / 1024, k + 1) : \
    sprintf('%.0f', n).(k ? 'KMG'[k:k] : '')

# The training length is a vertical line, where it is between the ends of the x axis.
if (train_length > 0) {
    set arrow 1 from train_length, graph 0 to train_length, graph 1 nohead back dashtype (8,6) linewidth 1.2 linecolor '#555555'
    set label 1 'training length '.length_text(train_length, 0) at train_length, graph 1.025 left offset -0.6,0 \
        textcolor '#555555' font 'DejaVu Sans,13'
}
