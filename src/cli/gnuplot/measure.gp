# A measure against a number of tokens, one curve per length or encoding.
# NAME.dat has one block per curve, blocks separated by two empty lines: x, value, size of the bar (0: none).
if (!exists('x_heading')) { x_heading = 'x' }
if (!exists('y_heading')) { y_heading = 'value' }
if (!exists('bars')) { bars = 'standard error' }
if (!exists('y_most')) { y_most = 1e300 } # a curve leaves the picture above this value

stats data using 1 nooutput
x_low = STATS_min
x_high = STATS_max
if (x_low > 0 && x_high > 3 * x_low) {
    set logscale x 2
    set xrange [x_low / 1.12:x_high * 1.12]
    set xtics ()
    do for [p = int(ceil(log(x_low) / log(2) - 1e-9)):int(floor(log(x_high) / log(2) + 1e-9))] {
        set xtics add (length_text(int(2**p), 0) 2**p)
    }
} else {
    margin = larger(0.03 * (x_high - x_low), 0.5)
    set xrange [x_low - margin:x_high + margin]
}
stats data using ($2 - $3) nooutput
y_low = STATS_min
stats data using ($2 + $3) nooutput
y_high = smaller(STATS_max, y_most)
margin = larger(0.05 * (y_high - y_low), 1e-3 * larger(abs(y_low), abs(y_high)))
set yrange [y_low - (margin > 0 ? margin : 1):y_high + (margin > 0 ? margin : 1)]
set xlabel x_heading
set ylabel y_heading.(strlen(bars) > 0 ? ' (bars: '.bars.')' : '')
if (train_length < x_low / 1.12 || train_length > x_high * 1.12) { unset arrow 1; unset label 1 }
plot for [c = 1:curves] data index c - 1 using 1:2 with linespoints linetype styles[c] title labels[c], \
     for [c = 1:curves] data index c - 1 using 1:($3 > 0 ? $2 : NaN):3 with yerrorbars linetype styles[c] notitle
