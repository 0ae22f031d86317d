-- Which moments of an order book are asked for, and how far from them may their messages be?
--
-- book_grid(start, stop, every)  a list of the multiples of every since 1970 from start, inclusive, to stop, exclusive
-- book_slack(by)                 how far from a moment by this clock messages may be that were received by the other

CREATE OR REPLACE MACRO book_grid(start, stop, every) AS list_transform(
    range(
        grid_number(grid_ceiling(start, every, NULL), every, NULL),
        grid_number(grid_ceiling(stop, every, NULL), every, NULL)
    ),
    lambda number: grid_start(number, every, NULL)
);

CREATE OR REPLACE MACRO book_slack("by") AS CASE
    WHEN "by" = 'received' THEN INTERVAL 0 SECOND
    WHEN "by" = 'time' THEN INTERVAL 1 MINUTE
    ELSE error('by is ''received'' or ''time''')
END;
