-- What the reader asks SQLite (3.37 and later). All in one read transaction, so that the answers belong together.
-- Rows come in no order: the reader sorts them.

-- name: schema_version
-- A counter in the file's header that every committed DDL raises (sqlite.org/pragma.html#pragma_schema_version).
PRAGMA schema_version

-- name: definitions
-- The text of each table, view and trigger; `tbl_name` is what a trigger belongs to. First in the transaction, because
-- it makes SQLite parse the schema again if another process has changed it.
SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE type IN ('table', 'view', 'trigger')

-- name: relations
-- Tables, views and virtual tables. Shadow tables, which store what virtual tables show, have a type of their own.
SELECT name, type, wr AS without_rowid, strict
FROM pragma_table_list
WHERE schema = 'main' AND type IN ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'

-- name: table_columns
-- Columns of all ordinary tables. `hidden`: 0 plain, 1 hidden, 2 generated virtual, 3 generated stored.
SELECT s.name, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
FROM main.sqlite_schema AS s JOIN pragma_table_xinfo(s.name, 'main') AS c
WHERE s.type = 'table' AND s.rootpage > 0

-- name: view_columns
-- Columns of all views. Fails as a whole if one view refers to something that is gone.
SELECT s.name, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
FROM main.sqlite_schema AS s JOIN pragma_table_xinfo(s.name, 'main') AS c
WHERE s.type = 'view'

-- name: virtual_columns
-- Columns of all virtual tables. Fails as a whole if the module of one is not there.
SELECT s.name, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
FROM main.sqlite_schema AS s JOIN pragma_table_xinfo(s.name, 'main') AS c
WHERE s.type = 'table' AND coalesce(s.rootpage, 0) = 0

-- name: columns_of
-- Columns of the one relation ?1.
SELECT ?1, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden FROM pragma_table_xinfo(?1, 'main') AS c

-- name: foreign_keys
-- One row a column of a foreign key. The last key declared has id 0. `to` is null where the target's primary key is meant.
SELECT s.name, f.id, f.seq, f."from", f."table", f."to"
FROM main.sqlite_schema AS s JOIN pragma_foreign_key_list(s.name, 'main') AS f
WHERE s.type = 'table' AND s.rootpage > 0

-- name: indexes
-- One row a column of each index; its name is null for an expression. `text`: the definition, null for a constraint's.
SELECT s.name, i.name, i."unique", i.partial, k.seqno, k.name, k."desc", d.sql AS text
FROM main.sqlite_schema AS s
JOIN pragma_index_list(s.name, 'main') AS i
JOIN pragma_index_xinfo(i.name, 'main') AS k
LEFT JOIN main.sqlite_schema AS d ON d.type = 'index' AND d.name = i.name
WHERE s.type = 'table' AND s.rootpage > 0 AND k."key"

-- name: has_statistics
-- Whether ANALYZE was ever run.
SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlite_stat1'

-- name: statistics
-- The first number of `stat` is how many rows were in the index, or, without one, in the table (fileformat2.html).
SELECT tbl, idx, stat FROM main.sqlite_stat1

-- name: unique_indexes
-- One row a column of an index that tells all rows apart; the last one made has seq 0. `origin`: pk, u (a constraint)
-- or c (CREATE INDEX). The column's name is null for an expression.
SELECT s.name, i.seq, i.name, i.origin, k.seqno, k.name
FROM main.sqlite_schema AS s
JOIN pragma_index_list(s.name, 'main') AS i
JOIN pragma_index_info(i.name, 'main') AS k
WHERE s.type = 'table' AND s.rootpage > 0 AND i."unique" AND NOT i.partial
