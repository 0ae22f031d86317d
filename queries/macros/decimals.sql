-- How are decimals counted and divided into steps, exactly?
--
-- bar_size(size)             the size; an error if it is not positive, or above 10^17
-- whole_times(total, size)   how many times size fits into total, both decimals; an error if more than 9 * 10^15 times
-- integer_12(value)          a decimal of scale 12, such as a price, without its point
-- power_of_ten(exponent)     from -12 to 25, as a decimal
-- decimal_exponent(value)    the exponent of the largest power of ten not above the value, a positive quantity

CREATE OR REPLACE MACRO bar_size(size) AS
    CASE WHEN size > 0 AND size <= 1e17 THEN size ELSE error('a size must be above zero, and at most 10^17') END;

-- `//` and `/` on decimals are computed with doubles. A double quotient below 10^8 is off by less than 10^-7, so it is
-- right if it is not that near a whole number. Beyond, it is off by one at most, which is detected by comparing it with
-- the decimals, and takes ten times as long.
CREATE OR REPLACE MACRO is_between_whole(quotient) AS
    quotient < 1e8 AND quotient - floor(quotient) > 1e-7 AND quotient - floor(quotient) < 1 - 1e-7;
CREATE OR REPLACE MACRO settled(guess, total, size) AS CASE
    WHEN guess::DECIMAL(16, 0) * size > total THEN guess - 1
    WHEN (guess + 1)::DECIMAL(16, 0) * size <= total THEN guess + 1
    ELSE guess
END;
CREATE OR REPLACE MACRO whole_times(total, size) AS
    CASE
        WHEN is_between_whole(total::DOUBLE / size::DOUBLE) THEN floor(total::DOUBLE / size::DOUBLE)::BIGINT
        WHEN total::DOUBLE / size::DOUBLE < 9e15 THEN settled(floor(total::DOUBLE / size::DOUBLE)::BIGINT, total, size)
        ELSE error('a size that goes more than 9 * 10^15 times into what was traded is too small: choose a larger one')
    END;

CREATE OR REPLACE MACRO integer_12(value) AS replace(value::VARCHAR, '.', '')::HUGEINT;

CREATE OR REPLACE MACRO power_of_ten(exponent) AS ('1e' || exponent::INTEGER)::DECIMAL(38, 12);

CREATE OR REPLACE MACRO decimal_exponent(value) AS
    length(ltrim(replace(value::DECIMAL(28, 8)::VARCHAR, '.', ''), '0')) - 9;
