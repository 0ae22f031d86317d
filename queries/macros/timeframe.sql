-- How long is a bar of this timeframe, and where do bars begin?
--
-- timeframe_us(timeframe)       the length of a bar in microseconds; an error lists the valid timeframes
-- bar_start(time, timeframe)    the start of the bar that contains this time
-- bar_ceiling(time, timeframe)  the first start of a bar at or after this time; NULL stays NULL
--
-- Bars are counted from 1970-01-01 UTC, as Kraken counts them, so its weeks begin on Thursdays. time_bucket() is not
-- used: its weeks begin on Mondays, and integers are faster.

CREATE OR REPLACE MACRO timeframe_us(timeframe) AS 60000000 * CASE timeframe
    WHEN '1m' THEN 1
    WHEN '5m' THEN 5
    WHEN '15m' THEN 15
    WHEN '30m' THEN 30
    WHEN '1h' THEN 60
    WHEN '4h' THEN 240
    WHEN '12h' THEN 720
    WHEN '1d' THEN 1440
    WHEN '1w' THEN 10080
    WHEN '15d' THEN 21600
    ELSE error(format(
        'there is no timeframe {}: use one of 1m 5m 15m 30m 1h 4h 12h 1d 1w 15d',
        coalesce('''' || timeframe || '''', 'NULL')
    ))
END::BIGINT;

CREATE OR REPLACE MACRO bar_start(moment, timeframe) AS
    make_timestamptz(epoch_us(moment::TIMESTAMPTZ) // timeframe_us(timeframe) * timeframe_us(timeframe));

CREATE OR REPLACE MACRO bar_ceiling(moment, timeframe) AS make_timestamptz(
    (epoch_us(utc_moment(moment)) + timeframe_us(timeframe) - 1)
    // timeframe_us(timeframe) * timeframe_us(timeframe)
);
