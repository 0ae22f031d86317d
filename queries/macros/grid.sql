-- How long is a bar of this width, and where do bars begin?
--
-- width_us(width)                      the length of a bar in microseconds; width is text, '7 minutes', or an INTERVAL
-- bar_offset_us(width, origin)         a start of a bar before 1970, in microseconds; origin NULL: 1970-01-01 UTC
-- grid_number(moment, width, origin)   the number of the bar that contains this time
-- grid_start(number, width, origin)    the start of the bar with this number
-- grid_ceiling(moment, width, origin)  the first start of a bar at or after this time; NULL stays NULL
-- grid_before(moment, width)           the start of the bar before that one, counted from 1970-01-01 UTC

CREATE OR REPLACE MACRO width_us(width) AS CASE
    WHEN datepart('year', width::INTERVAL) <> 0 OR datepart('month', width::INTERVAL) <> 0
        THEN error('a bar has a fixed width, which months and years have not: write it in days, such as ''30 days''')
    WHEN epoch_us(width::INTERVAL) > 0 THEN epoch_us(width::INTERVAL)
    ELSE error('a bar has a width above zero, such as ''7 minutes'' or ''1 hour''')
END::BIGINT;

-- Counted from before 1970 and before origin, numbers are positive, and integer division rounds down.
CREATE OR REPLACE MACRO bar_offset_us(width, origin) AS
    coalesce(epoch_us(utc_moment(origin)), 0) % width_us(width) - 2 * width_us(width);

CREATE OR REPLACE MACRO grid_number(moment, width, origin) AS
    (epoch_us(moment) - bar_offset_us(width, origin)) // width_us(width);

CREATE OR REPLACE MACRO grid_start(number, width, origin) AS
    make_timestamptz(number * width_us(width) + bar_offset_us(width, origin));

CREATE OR REPLACE MACRO grid_ceiling(moment, width, origin) AS make_timestamptz(
    (epoch_us(utc_moment(moment)) - bar_offset_us(width, origin) + width_us(width) - 1)
    // width_us(width) * width_us(width) + bar_offset_us(width, origin)
);

CREATE OR REPLACE MACRO grid_before(moment, width) AS
    make_timestamptz(epoch_us(grid_ceiling(moment, width, NULL)) - width_us(width));
