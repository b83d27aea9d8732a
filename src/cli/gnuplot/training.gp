# The training of one run, or of several: panels above each other with one x axis, the legend of a panel at its right.
# NAME.dat has one block per curve, blocks separated by two empty lines: x, y, and for a band its lowest and highest y.
# A panel's curves are first[p] to first[p + 1] - 1. The kind of a curve is "line", "band" (a line with a band around it),
# "marks" (a line with a mark at each point, unless there are many points) or "crosses" (at the bottom of the panel).
if (!exists('name')) { name = ARG0[1:strlen(ARG0) - 3] }
data = name.'.dat'
if (!exists('heading')) { heading = name }
if (!exists('x_heading')) { x_heading = 'step' }
if (!exists('max_loss')) { max_loss = 0 }
if (!exists('panels')) {
    stats data using 1 nooutput
    curves = STATS_blocks
    panels = 1
    array headings[1] = ['']
    array is_loss[1] = [1]
    array from_zero[1] = [0]
    array first[2]
    first[1] = 1
    first[2] = curves + 1
    array labels[curves]
    array styles[curves]
    array kinds[curves]
    array points[curves]
    do for [c = 1:curves] {
        labels[c] = sprintf('curve %d', c)
        styles[c] = (c - 1) % line_types + 1
        kinds[c] = 'line'
        stats data index c - 1 using (valid(2)) nooutput
        points[c] = STATS_sum
    }
}

# Sizes in pixels. The picture grows with its panels and its legends: 28 per row, 10 per character.
left = 115
panel_height(p) = is_loss[p] ? 380 : 170
longest = 0
height = 95 + 80 - 48
do for [p = 1:panels] {
    above = height
    rows = 0
    do for [c = first[p]:first[p + 1] - 1] {
        rows = rows + (strlen(labels[c]) > 0)
        longest = larger(longest, strlen(labels[c]))
    }
    height = larger(above + 48 + panel_height(p), above + 28 * rows)
}
legend = longest > 0 ? 80 + 10 * longest : 0
width = 1200 + larger(legend - 300, 0)
right = width - 25 - legend
x_screen(x) = x / real(width)
y_screen(y) = 1 - y / real(height)

set terminal pngcairo size width,height noenhanced background '#ffffff' font 'DejaVu Sans,15' linewidth 1.5
set output name.'.png'
set lmargin at screen x_screen(left)
set rmargin at screen x_screen(right)
set format y '%g'

# About seven round numbers on the x axis, labeled below the last panel: 2500 as 2.5k.
stats data using 1 nooutput
x_low = STATS_min
x_high = STATS_max
span = x_high > x_low ? x_high - x_low : 1.0
power = 10.0**floor(log10(span / 7))
rough = span / 7 / power
tick = larger(1, (rough < 1.5 ? 1 : rough < 3.5 ? 2 : rough < 7.5 ? 5 : 10) * power)
axis_left = x_low <= 0.1 * span ? 0 : x_low - 0.02 * span
axis_right = x_high + (x_high > x_low ? 0.01 * span : 1)
tick_text(x, k) = x >= 1000 && k < 4 ? tick_text(x / 1000, k + 1) : sprintf('%g', x).(k ? 'kMGT'[k:k] : '')

# The axis of losses ends where the curves are after the first tenth of their steps: otherwise the fall from the first
# step would compress the rest of the curves. With few points it ends at the highest value.
on_axis(y) = abs(y) <= 1e300 ? y : NaN
loss_end(p) = max_loss > 0 ? max_loss : late_count >= 10 ? late_high : 1e300
set multiplot
set label 2 heading at screen x_screen(left), screen y_screen(34) left font 'DejaVu Sans,18'
top = 95
do for [p = 1:panels] {
    bottom = top + panel_height(p)
    unset logscale y
    set autoscale
    y_low = 1e300
    y_high = -1e300
    late_count = 0
    late_high = -1e300
    do for [c = first[p]:first[p + 1] - 1] {
        if (kinds[c] eq 'crosses' || points[c] == 0) { continue }
        low = kinds[c] eq 'band' ? 3 : 2
        high = kinds[c] eq 'band' ? 4 : 2
        stats data index c - 1 using (on_axis(column(low))) nooutput
        y_low = smaller(y_low, STATS_min)
        stats data index c - 1 using (on_axis(column(high))) nooutput
        y_high = larger(y_high, STATS_max)
        stats data index c - 1 using 1 nooutput
        late = 0.1 * STATS_max
        stats data index c - 1 using ($1 >= late ? on_axis(column(high)) : -1e301) nooutput
        late_high = larger(late_high, STATS_max)
        stats data index c - 1 using ($1 >= late && abs($2) <= 1e300 ? 1 : 0) nooutput
        late_count = late_count + STATS_sum
    }
    if (from_zero[p]) { y_low = smaller(y_low, 0); y_high = larger(y_high, 0) }
    if (is_loss[p]) { y_high = smaller(y_high, larger(loss_end(p), y_low)) }
    if (y_low > y_high) { y_low = 0; y_high = 1 }

    # The y axis is logarithmic where it does not begin at 0 and the largest value is more than ten times the smallest.
    is_log = !from_zero[p] && y_low > 0 && y_high > 10 * y_low
    margin = y_high > y_low ? 0.04 * (y_high - y_low) : y_high != 0 ? 0.1 * abs(y_high) : 1
    axis_low = is_log ? y_low / 1.1 : y_low - (from_zero[p] && y_low == 0 ? 0 : margin)
    axis_high = is_log ? y_high * 1.1 : y_high + margin
    set ytics autofreq
    if (is_log) {
        set logscale y
        digits = log_digits(is_loss[p] ? 12 : 6)
        every = log_every(digits, 1, is_loss[p] ? 12 : 6)
        set ytics ()
        do for [q = log_first(every):int(floor(log10(axis_high))):every] {
            do for [k = 1:words(digits)] {
                y = log_tick(digits, k, q)
                if (is_log_tick(y)) { set ytics add (log_label(y) y) }
            }
        }
    }
    set xrange [axis_left:axis_right]
    set yrange [axis_low:axis_high]

    set xtics ()
    x = tick * ceil(axis_left / tick)
    while (x <= axis_right) {
        set xtics add ((p == panels ? tick_text(x, 0) : '') x)
        x = x + tick
    }
    if (p == panels) { set xlabel x_heading }
    set tmargin at screen y_screen(top)
    set bmargin at screen y_screen(bottom)
    set key at screen x_screen(right), screen y_screen(top - 10) left top vertical Left reverse samplen 2 spacing 1.3
    set label 1 headings[p] at graph 0, graph 1 left offset 0,0.7 textcolor '#222222'

    commands = ''
    do for [c = first[p]:first[p + 1] - 1] {
        here = sprintf('data index %d using ', c - 1)
        look = kinds[c] eq 'crosses' ? "1:(axis_low) with points pointtype 2 pointsize 1 linewidth 1.5 linecolor '#c00000'" : \
            (kinds[c] eq 'marks' && points[c] <= 50) || points[c] == 1 ? \
            sprintf('1:2 with linespoints linetype %d pointsize 1', styles[c]) : sprintf('1:2 with lines linetype %d', styles[c])
        if (points[c] == 0) { here = ''; look = sprintf('NaN with lines linetype %d', styles[c]) }
        if (kinds[c] eq 'band' && points[c] > 0) {
            commands = commands.here.sprintf("1:3:4 with filledcurves fillcolor '%s' fillstyle transparent solid 0.25 noborder notitle, ", \
                word(colors, (styles[c] - 1) % 8 + 1))
        }
        commands = commands.here.look.(strlen(labels[c]) > 0 ? sprintf(' title labels[%d], ', c) : ' notitle, ')
    }
    eval 'plot '.commands[1:strlen(commands) - 2]
    unset label 2
    top = bottom + 48
}
unset multiplot
