-- What follows from one quote?
--
-- is_two_sided(bid, ask)                   whether both sides have a price: neither NULL nor zero
-- quote_spread(bid, ask)                   ask - bid, exact; NULL unless both sides have a price; negative if crossed
-- mid_price(bid, ask)                      their mean, exact: it has one decimal more; NULL likewise
-- microprice(bid, bid_qty, ask, ask_qty)   (bid * ask_qty + ask * bid_qty) / (bid_qty + ask_qty), truncated (not
--                                          rounded) to 12 decimals: near the side with less quantity. NULL unless both
--                                          sides have a price and a quantity, or if such a product is 10^12 or more

CREATE OR REPLACE MACRO is_two_sided(bid, ask) AS coalesce(bid > 0 AND ask > 0, false);

CREATE OR REPLACE MACRO quote_spread(bid, ask) AS CASE WHEN is_two_sided(bid, ask) THEN ask - bid END;

CREATE OR REPLACE MACRO mid_price(bid, ask) AS
    CASE WHEN is_two_sided(bid, ask) THEN (bid + ask) * 0.5::DECIMAL(2, 1) END;

CREATE OR REPLACE MACRO microprice(bid, bid_qty, ask, ask_qty) AS CASE
    WHEN is_two_sided(bid, ask) AND bid_qty > 0 AND ask_qty > 0
        THEN cut_vwap(trade_amount(bid, ask_qty) + trade_amount(ask, bid_qty), bid_qty + ask_qty, 12)
END;
