# Curves of distance biases b(d).
# NAME.dat has one block per curve, blocks separated by two empty lines: distance, bias.
if (!exists('lowest')) { lowest = 0 }
if (!exists('y_heading')) { y_heading = 'bias b(d) on the attention logit (nats)' }

stats data using 1 nooutput
x_low = STATS_min
x_high = STATS_max > STATS_min ? STATS_max : STATS_min + 1
stats data using 2 nooutput
y_low = lowest < 0 ? larger(lowest, STATS_min) : STATS_min
y_high = STATS_max
margin = larger(0.03 * (y_high - y_low), 1e-3 * larger(abs(y_low), abs(y_high)))
if (margin == 0) { margin = 1 }

set xrange [x_low:x_high]
set yrange [y_low - (y_low > STATS_min ? 0 : margin):y_high + margin]
set xlabel 'distance d between query and key ('.unit.')'
set ylabel y_heading
if (train_length > x_high * 1.12) { unset arrow 1; unset label 1 }
plot for [c = 1:curves] data index c - 1 using 1:2 with lines linetype styles[c] title labels[c]
