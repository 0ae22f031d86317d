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

-- With lambdas, so that each argument is expanded once: statements nest these macros, and DuckDB would take longer to
-- plan the copies than to compute the bars. No lambda has an error() in it, or DuckDB would compute it for each row.
-- Counted from before 1970 and before origin, numbers are positive, and integer division rounds down.
CREATE OR REPLACE MACRO bar_offset_us(width, origin) AS list_transform(
    [{'us': width_us(width), 'origin_us': coalesce(epoch_us(utc_moment(origin)), 0)}],
    lambda bar: bar.origin_us % bar.us - 2 * bar.us
)[1];

CREATE OR REPLACE MACRO grid_number(moment, width, origin) AS
    (epoch_us(moment) - bar_offset_us(width, origin)) // width_us(width);

CREATE OR REPLACE MACRO grid_start(number, width, origin) AS
    make_timestamptz(number * width_us(width) + bar_offset_us(width, origin));

CREATE OR REPLACE MACRO grid_ceiling(moment, width, origin) AS make_timestamptz(list_transform(
    [{'at': epoch_us(utc_moment(moment)), 'us': width_us(width), 'offset': bar_offset_us(width, origin)}],
    lambda bar: (bar.at - bar.offset + bar.us - 1) // bar.us * bar.us + bar.offset
)[1]);

CREATE OR REPLACE MACRO grid_before(moment, width) AS
    make_timestamptz(epoch_us(grid_ceiling(moment, width, NULL)) - width_us(width));
