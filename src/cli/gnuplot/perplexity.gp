# Perplexity against the length of the test text, one curve per encoding.
# NAME.dat has one block per curve, blocks separated by two empty lines: length, perplexity, standard deviation over seeds.
if (!exists('limit')) { limit = 1e300 }
if (!exists('bars')) { bars = 0 }

stats data using ($2 <= limit ? $1 : NaN) nooutput
x_low = STATS_min
x_high = STATS_max
stats data using ($2 <= limit ? ($2 > $3 ? $2 - $3 : $2) : NaN) nooutput
y_low = STATS_min
stats data using ($2 <= limit ? $2 + $3 : NaN) nooutput
y_high = STATS_max

# Ticks at the powers of two.
set logscale x 2
set xrange [x_low / 1.12:x_high * 1.12]
first = int(ceil(log(x_low) / log(2) - 1e-9))
last = int(floor(log(x_high) / log(2) + 1e-9))
set xtics ()
if (first <= last) {
    set for [p = first:last] xtics add (length_text(int(2**p), 0) 2**p)
} else {
    set xtics add (sprintf('%.0f', x_low) x_low)
}

# The y axis is logarithmic where the largest value is more than three times the smallest.
if (y_low > 0 && y_high > 3 * y_low) {
    axis_low = y_low / 1.08
    axis_high = smaller(y_high * 1.08, 1.7e308)
    set logscale y
    digits = log_digits(14)
    every = log_every(digits, 1, 14)
    set ytics ()
    do for [p = log_first(every):int(floor(log10(axis_high))):every] {
        do for [k = 1:words(digits)] {
            y = log_tick(digits, k, p)
            if (is_log_tick(y)) { set ytics add (log_label(y) y) }
        }
    }
} else {
    margin = larger(0.05 * (y_high - y_low), 1e-3 * larger(abs(y_low), abs(y_high)))
    axis_low = y_low - (margin > 0 ? margin : 1)
    axis_high = y_high + (margin > 0 ? margin : 1)
}
set yrange [axis_low:axis_high]
set xlabel 'length of the test text ('.unit.')'
set ylabel 'perplexity'.(bars ? ' (bars: standard deviation over seeds)' : '')
if (train_length < x_low / 1.12 || train_length > x_high * 1.12) { unset arrow 1; unset label 1 }

# Values above the limit, and infinite ones, are not drawn. A curve without any point is in the legend.
shown(y) = y <= limit ? y : NaN
commands = ''
do for [c = 1:curves] {
    commands = commands.(c > 1 ? ', ' : '').(points[c] == 0 ? \
        sprintf('NaN with linespoints linetype styles[%d] title labels[%d]', c, c) : \
        sprintf('data index %d using 1:(shown($2)) with linespoints linetype styles[%d] title labels[%d]', c - 1, c, c). \
        (bars ? sprintf(', data index %d using 1:($3 > 0 ? shown($2) : NaN):3 with yerrorbars linetype styles[%d] notitle', \
                        c - 1, c) : ''))
}
eval 'plot '.commands
