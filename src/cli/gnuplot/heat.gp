# A heat map: a number in each cell of a grid.
# NAME.dat has one block: column and row of the cell (from 0), value. The names of columns and rows are variables.
if (!exists('x_heading')) { x_heading = 'x' }
if (!exists('y_heading')) { y_heading = 'y' }
if (!exists('x_names')) { x_names = '' }
if (!exists('y_names')) { y_names = '' }

stats data using 1 nooutput
x_high = STATS_max
stats data using 2 nooutput
y_high = STATS_max
stats data using 3 nooutput
if (!exists('low')) { low = STATS_min }
if (!exists('high')) { high = STATS_max > low ? STATS_max : low + 1 }
set xrange [-0.5:x_high + 0.5]
set yrange [-0.5:y_high + 0.5]
set xtics ()
set ytics ()
do for [i = 1:words(x_names)] { set xtics add (word(x_names, i) i - 1) }
do for [i = 1:words(y_names)] { set ytics add (word(y_names, i) i - 1) }
unset grid
unset key
set tics scale 0
set cbrange [low:high]
set palette defined (0 '#f7fbff', 0.5 '#6baed6', 1 '#08306b')
set xlabel x_heading
set ylabel y_heading
plot data using 1:2:($1 - 0.5):($1 + 0.5):($2 - 0.5):($2 + 0.5):3 with boxxyerror fillstyle solid noborder \
         linecolor palette notitle, \
     data using 1:2:(sprintf('%.2f', $3)):($3 > 0.5 * (low + high) ? 0xffffff : 0x222222) \
         with labels textcolor rgb variable notitle
