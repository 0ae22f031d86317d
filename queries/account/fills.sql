-- What was traded, and what did it really cost?
--
-- fills(id, time, pair, side, ord_type, price, qty, cost, fee, fee_asset, paid, maker, trade_id, order_id)
--
-- One row for each own fill and each asset in which a fee was deducted, mostly one. fee is what Kraken reckons for the
-- trade in its quote currency; paid is what was deducted according to the ledger, and fee_asset of what. Both are NULL where no
-- ledger entry of the trade is stored yet.

CREATE OR REPLACE VIEW fills AS
WITH deducted AS (
    SELECT refid, asset, sum(fee) AS paid
    FROM account_ledger
    WHERE type IN ('trade', 'margin') AND fee <> 0
    GROUP BY refid, asset
)
SELECT
    t.id, t.time, t.pair, t.side, t.ord_type, t.price, t.qty, t.cost, t.fee, d.asset AS fee_asset, d.paid, t.maker,
    t.trade_id, t.order_id
FROM account_trades AS t
LEFT JOIN deducted AS d ON d.refid = t.id;
