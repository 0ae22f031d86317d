-- Where are the trades of one pair?
--
-- pair_files(pair)  a glob over the pair's files and the table's empty schema file, and over nothing else but
--                   pairs whose name begins with this one; callers filter by pair, which costs them no reading
--
-- A glob that matches nothing is an error in DuckDB, and a pair without trades is none. So the folder's name is
-- matched letter by letter with that of the empty partition: BTC%2FUSD becomes [B_][T_][Cn][%o][2n][Fe][U_][S_]*.

CREATE OR REPLACE MACRO pair_files(pair) AS
    getvariable('recorder_data') || '/trades/pair='
    || array_to_string([
        '[' || url_encode(pair)[i] || '__none__'[i] || ']'
        for i in range(1, least(length(url_encode(pair)), length('__none__')) + 1)
    ], '')
    || '*/*/*.parquet';
