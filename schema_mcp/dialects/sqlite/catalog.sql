-- What the reader asks SQLite (3.37 and later). All in one read transaction, so that the answers belong together.
-- Rows come in no order: the reader sorts them.

-- name: schema_version
-- A counter in the file's header that every committed DDL raises (sqlite.org/pragma.html#pragma_schema_version).
PRAGMA schema_version

-- name: definitions
-- The text of everything there is and where its rows begin, in the order in which it was made; `tbl_name` is what an
-- index or a trigger belongs to. First in the transaction, because it makes SQLite parse the schema again if another
-- process has changed it.
SELECT type, name, tbl_name, sql, coalesce(rootpage, 0) FROM main.sqlite_schema ORDER BY rowid

-- name: identity
-- What ?2 is now: where its rows are, which a new name does not change (VACUUM does), and its definition. ?1: 'main'.
SELECT coalesce(rootpage, 0) || ' ' || coalesce(sql, '')
FROM main.sqlite_schema WHERE type IN ('table', 'view') AND ?1 = 'main' AND name = ?2

-- name: relations
-- Tables, views and virtual tables. Shadow tables, which store what virtual tables show, have a type of their own.
SELECT name, type, wr AS without_rowid, strict
FROM pragma_table_list
WHERE schema = 'main' AND type IN ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'

-- name: columns
-- Columns of the relations in the JSON array ?1. Fails as a whole if a view among them refers to something that is
-- gone, or the module of a virtual table is not there. `hidden`: 0 plain, 1 hidden, 2 generated virtual, 3 stored.
SELECT r.value, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
FROM json_each(?1) AS r JOIN pragma_table_xinfo(r.value, 'main') AS c

-- name: foreign_keys
-- One row a column of a foreign key of the tables in ?1. The last key declared has id 0. `to` is null where the target's
-- primary key is meant.
SELECT r.value, f.id, f.seq, f."from", f."table", f."to"
FROM json_each(?1) AS r JOIN pragma_foreign_key_list(r.value, 'main') AS f

-- name: indexes
-- One row a column of each index of the tables in ?1; its name is null for an expression.
SELECT r.value, i.name, i."unique", i.partial, k.seqno, k.name, k."desc"
FROM json_each(?1) AS r
JOIN pragma_index_list(r.value, 'main') AS i
JOIN pragma_index_xinfo(i.name, 'main') AS k
WHERE k."key"

-- name: has_statistics
-- Whether ANALYZE was ever run.
SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlite_stat1'

-- name: statistics
-- The first number of `stat` is how many rows were in the index, or, without one, in the table (fileformat2.html).
SELECT tbl, idx, stat FROM main.sqlite_stat1

-- name: unique_indexes
-- One row a column of an index that tells all rows of a table in ?1 apart; the last one made has seq 0. `origin`: pk, u
-- (a constraint) or c (CREATE INDEX). The column's name is null for an expression.
SELECT r.value, i.seq, i.name, i.origin, k.seqno, k.name, k.coll
FROM json_each(?1) AS r
JOIN pragma_index_list(r.value, 'main') AS i
JOIN pragma_index_xinfo(i.name, 'main') AS k
WHERE i."unique" AND NOT i.partial AND k.key

-- name: has_deferred
-- Whether some foreign key is put off to the end of a transaction (only the text tells), or may be.
SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND sql LIKE '%DEFERRED%'

-- name: check_deferred
-- How many rows refer to none.
SELECT count(*) FROM pragma_foreign_key_check
