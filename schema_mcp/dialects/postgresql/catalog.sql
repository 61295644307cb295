-- What the reader asks PostgreSQL (13 and later), in this order. After `search_path` every name is one of pg_catalog's.
-- Only `expressions` needs locks on the relations; everything else reads catalog rows, whoever holds which lock.

-- name: gate
-- Equal text at two times means: the same transactions are visible, so the same catalogs. `hint` counts the rows that
-- were written to the catalogs; it lags by seconds, and counts what is rolled back.
select pg_catalog.pg_current_snapshot()::pg_catalog.text as snapshot,
       pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())::pg_catalog.text as started,
       (
           select pg_catalog.sum(
               pg_catalog.pg_stat_get_tuples_inserted(c.oid) operator(pg_catalog.+)
               pg_catalog.pg_stat_get_tuples_updated(c.oid) operator(pg_catalog.+)
               pg_catalog.pg_stat_get_tuples_deleted(c.oid)
           )
           from pg_catalog.unnest(
               '{pg_catalog.pg_class, pg_catalog.pg_attribute, pg_catalog.pg_constraint, pg_catalog.pg_index,
                 pg_catalog.pg_description, pg_catalog.pg_type, pg_catalog.pg_enum}'::pg_catalog.regclass[]
           ) as c (oid)
       )::pg_catalog.text as hint

-- name: begin
-- One snapshot for all queries. JIT would cost more than the largest of them; a generic plan knows neither how many
-- relations are asked for nor that it may be all.
begin isolation level repeatable read read only;
set local lock_timeout = '250ms';
set local statement_timeout = '30s';
set local plan_cache_mode = force_custom_plan;
set local jit = off

-- name: context
-- The gate, and what the user's own search path means; so before `search_path`.
select pg_catalog.pg_current_snapshot()::pg_catalog.text as snapshot,
       pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())::pg_catalog.text as started,
       pg_catalog.current_setting('search_path') as search_path,
       pg_catalog.current_schemas(false)::pg_catalog.text[] as schemas

-- name: search_path
-- Makes format_type and pg_get_expr qualify every name that is not PostgreSQL's own.
set local search_path = pg_catalog, pg_temp

-- name: portable_plans
-- For the views of information_schema: 1,000 arrays took element_types 3.6 s, and take it 0.06 s.
set local enable_nestloop = off

-- name: commit
-- Nothing was written; a rollback would look like a failure in the database's statistics.
commit

-- name: rollback
-- After a failure. Without a transaction it only warns.
rollback

-- name: changes
-- One row a catalog: how many rows it has, and those that no transaction before $1 has written, as "relation xmin
-- place" (an index counts as its table; where the rows belong to no relation: 0). Attributes go only with their
-- relation, so they need no total. A temporary object's own type and schema do not count. Roles show no xmin: of this
-- one and those it is a member of, a hash. Each catalog is counted by itself: one GROUP BY over all of them takes half as
-- long again.
select 'pg_class' as catalog, count(*) as total, array_agg(concat_ws(' ',
           coalesce((select i.indrelid from pg_index i where i.indexrelid = c.oid), c.oid), c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid))) as recent
from pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'f', 'i', 'I')
union all
select 'pg_attribute', count(*), array_agg(concat_ws(' ', c.attrelid, c.xmin, c.ctid))
from pg_attribute c where age(c.xmin) <= (select age($1::text::xid8::xid))
union all
select 'pg_constraint', count(*), array_agg(concat_ws(' ', c.conrelid, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_constraint c
union all
select 'pg_index', count(*), array_agg(concat_ws(' ', c.indrelid, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_index c
union all
select 'pg_description', count(*), array_agg(concat_ws(' ', c.objoid, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_description c where c.classoid = 'pg_class'::regclass
union all
select 'pg_inherits', count(*), array_agg(concat_ws(' ', c.inhparent, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_inherits c
union all
select 'pg_trigger', count(*), array_agg(concat_ws(' ', c.tgrelid, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_trigger c where not c.tgisinternal
union all
select 'pg_rewrite', count(*), array_agg(concat_ws(' ', c.ev_class, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_rewrite c
union all
select 'pg_foreign_table', count(*), array_agg(concat_ws(' ', c.ftrelid, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_foreign_table c
union all
select 'pg_namespace', count(*), array_agg(concat_ws(' ', 0, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_namespace c where c.nspname !~ '^pg_(toast_)?temp_'
union all
select 'pg_type', count(*), array_agg(concat_ws(' ', 0, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_type c where c.typtype <> 'c' and c.typcategory <> 'A'
union all
select 'pg_enum', count(*), array_agg(concat_ws(' ', 0, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_enum c
union all
select 'pg_proc', count(*), array_agg(concat_ws(' ', 0, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_proc c where c.pronamespace not in (select n.oid from pg_namespace n where n.nspname ~ '^pg_temp_')
union all
select 'pg_auth_members', count(*), array_agg(concat_ws(' ', 0, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_auth_members c
union all
select 'pg_extension', count(*), array_agg(concat_ws(' ', 0, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_extension c
union all
select 'pg_foreign_server', count(*), array_agg(concat_ws(' ', 0, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_foreign_server c
union all
select 'pg_foreign_data_wrapper', count(*), array_agg(concat_ws(' ', 0, c.xmin, c.ctid))
         filter (where age(c.xmin) <= (select age($1::text::xid8::xid)))
from pg_foreign_data_wrapper c
union all
select 'pg_roles', hashtextextended(string_agg(
           concat_ws(' ', c.oid, c.rolsuper, c.rolinherit, c.rolbypassrls), ',' order by c.oid), 0), null
from pg_roles c
where c.rolname = current_user
   or not (select u.rolsuper from pg_roles u where u.rolname = current_user) and pg_has_role(c.oid, 'MEMBER')

-- name: counts
-- How many rows each relation has in the catalogs whose rows may go while the relation stays.
select r.relation, count(*) as count
from (
    select c.oid from pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'f')
    union all
    select c.conrelid from pg_constraint c
    union all
    select c.indrelid from pg_index c
    union all
    select c.objoid from pg_description c where c.classoid = 'pg_class'::regclass
    union all
    select c.inhparent from pg_inherits c
    union all
    select c.tgrelid from pg_trigger c where not c.tgisinternal
    union all
    select c.ev_class from pg_rewrite c
) r (relation)
group by r.relation

-- name: dependents
-- The views over those of the relations $1 that are views or foreign tables, whatever lies between: whether they take
-- rows depends on them. And the views with security_invoker over any of them: the right to use them does.
with recursive changed (oid, kind) as (
    select c.oid, c.relkind from pg_class c where c.oid = any ($1::oid[])
    union
    select w.oid, w.relkind
    from changed v
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = v.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
    join pg_class w on w.oid = r.ev_class
    where v.kind in ('v', 'f') or w.reloptions is not null
)
select oid from changed

-- name: referencing
-- The relations whose foreign keys name the relations $1 or columns of theirs.
select distinct k.conrelid as oid from pg_constraint k where k.confrelid = any ($1::oid[]) and k.contype = 'f'

-- name: relations
-- One row a relation of the schemas $1, or of those only the $2, that may be served, with what the role may do with the
-- whole of it. In the order of `TableName`. A foreign table without a handler cannot even be read. A view with
-- security_invoker (15) is no more than its statement: the role needs the right to all that it refers to, through other
-- such views as well.
with recursive needs (view, relation, number) as (
    select v.oid, v.oid, 0
    from pg_class v
    where v.relkind = 'v' and v.reloptions is not null and ($2::oid[] is null or v.oid = any ($2::oid[]))
    union
    select w.view, d.refobjid, d.refobjsubid
    from needs w
    join pg_class v on v.oid = w.relation and v.relkind = 'v' and v.reloptions is not null and exists (
        select from pg_options_to_table(v.reloptions) o
        where o.option_name = 'security_invoker' and o.option_value::boolean
    )
    join pg_rewrite r on r.ev_class = w.relation and r.ev_type = '1'
    join pg_depend d
        on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
        and d.refclassid = 'pg_class'::regclass and d.refobjid <> w.relation
),
based (view, may_select, may_insert, may_update, may_delete) as (
    select w.view,
           bool_and(case when w.number = 0 then has_any_column_privilege(w.relation, 'SELECT')
                         else has_column_privilege(w.relation, w.number::smallint, 'SELECT') end),
           -- A trigger INSTEAD OF INSERT (64 + 4), UPDATE (16) or DELETE (8) needs no right to what the view shows.
           bool_and(has_any_column_privilege(w.relation, 'INSERT'))
               or exists (select from pg_trigger t where t.tgrelid = w.view and t.tgtype & 68 = 68),
           bool_and(has_any_column_privilege(w.relation, 'UPDATE'))
               or exists (select from pg_trigger t where t.tgrelid = w.view and t.tgtype & 80 = 80),
           bool_and(has_table_privilege(w.relation, 'DELETE'))
               or exists (select from pg_trigger t where t.tgrelid = w.view and t.tgtype & 72 = 72)
    from needs w
    where w.relation <> w.view
    group by w.view
)
select c.oid, n.nspname as schema, c.relname as name, c.relkind::text as kind, d.description as comment,
       c.relrowsecurity and row_security_active(c.oid) as row_security, c.relchecks as checks,
       exists (select from pg_inherits i where i.inhparent = c.oid) as has_children, c.reltuples as estimate,
       coalesce(has_table_privilege(c.oid, 'SELECT'), false) as may_select,
       coalesce(has_table_privilege(c.oid, 'INSERT'), false) as may_insert,
       coalesce(has_table_privilege(c.oid, 'UPDATE'), false) as may_update,
       coalesce(has_table_privilege(c.oid, 'DELETE'), false) as may_delete,
       coalesce(b.may_select, true) as base_select, coalesce(b.may_insert, true) as base_insert,
       coalesce(b.may_update, true) as base_update, coalesce(b.may_delete, true) as base_delete,
       -- A rule that is run in place of INSERT answers with rows only if it says RETURNING.
       c.relhasrules and (
           select coalesce(bool_or(r.is_instead) and not bool_or(r.ev_action::text ~ ':returningList \('), false)
           from pg_rewrite r where r.ev_class = c.oid and r.ev_type = '3'
       ) as silent,
       -- The same of UPDATE or DELETE.
       c.relhasrules and exists (
           select from pg_rewrite r where r.ev_class = c.oid and r.ev_type in ('2', '4')
           group by r.ev_type having bool_or(r.is_instead) and not bool_or(r.ev_action::text ~ ':returningList \(')
       ) as changes_silent
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join based b on b.view = c.oid
left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = 0
where n.nspname = any ($1::text[]) and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and ($2::oid[] is null or c.oid = any ($2::oid[]))
  and has_schema_privilege(n.oid, 'USAGE')
  and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition and c.relpersistence <> 't'
  and not exists (
      select from pg_foreign_table f
      join pg_foreign_server s on s.oid = f.ftserver
      join pg_foreign_data_wrapper w on w.oid = s.srvfdw
      where f.ftrelid = c.oid and w.fdwhandler = 0
  )
  and not exists (
      select from pg_depend e
      where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.objsubid = 0 and e.deptype = 'e'
  )
order by n.nspname, c.relname

-- name: columns
-- One row a column of the relations $1, in their order. A default has no column references and so needs no relation
-- (the 0): a lock on the table does not hide it. `may_*`: null where only the right to the whole relation counts.
select a.attrelid as relation, a.attnum as number, a.attname as name, a.atttypid as type, a.atttypmod as modifier,
       case when a.atttypmod <> -1 then format_type(a.atttypid, a.atttypmod) end as native,
       -- Since 18 a constraint NOT NULL may be NOT VALID, and then there may be nulls.
       a.attnotnull and (a.attrelid, a.attnum) not in
         (select n.conrelid, n.conkey[1] from pg_constraint n where n.contype = 'n' and not n.convalidated) as not_null,
       a.attidentity::text as identity, a.attgenerated <> '' as generated,
       case when a.attgenerated = '' then pg_get_expr(f.adbin, 0) end as default_expression,
       d.description as comment,
       case when a.attacl is not null then has_column_privilege(a.attrelid, a.attnum, 'SELECT') end as may_select,
       case when a.attacl is not null then has_column_privilege(a.attrelid, a.attnum, 'INSERT') end as may_insert,
       case when a.attacl is not null then has_column_privilege(a.attrelid, a.attnum, 'UPDATE') end as may_update
from pg_attribute a
left join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = a.attrelid and d.objsubid = a.attnum
where a.attrelid = any ($1::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum

-- name: types
-- One row for each of the types $1 and for those they are made of. `item`: the element type of a true array, else 0
-- (int2vector, point and name have elements too, and are none).
with recursive wanted (oid) as (
    select unnest($1::oid[])
    union
    select case when t.typtype = 'd' then t.typbasetype else t.typelem end
    from wanted w join pg_type t on t.oid = w.oid
    where t.typtype = 'd' or t.typelem <> 0
)
select t.oid, t.typtype::text as form, format_type(t.oid, -1) as name,
       t.typbasetype as base, t.typtypmod as modifier, format_type(t.typbasetype, t.typtypmod) as base_native,
       t.typnotnull as not_null, t.typdefault as default_expression,
       coalesce(e.oid, 0::oid) as item,
       -- The condition of a domain has VALUE in it and no column, so it needs no relation.
       (
           select array_agg(pg_get_expr(k.conbin, 0) order by k.conname)
           from pg_constraint k where k.contypid = t.oid and k.contype = 'c'
       ) as checks,
       (select array_agg(l.enumlabel::text order by l.enumsortorder) from pg_enum l where l.enumtypid = t.oid) as labels,
       t.typname = 'citext' and exists (
           select from pg_depend o join pg_extension x on x.oid = o.refobjid and x.extname = 'citext'
           where o.classid = 'pg_type'::regclass and o.objid = t.oid and o.deptype = 'e'
       ) as citext
from wanted w
join pg_type t on t.oid = w.oid
left join pg_type e
    on e.oid = t.typelem and e.typarray = t.oid and t.typtype <> 'd' and t.typlen = -1 and t.typcategory = 'A'

-- name: keys
-- Primary and unique keys over plain columns of the relations $1, constraint or not (an index has its constraint's
-- name). Those that are not valid, or hold for a part of the rows, hold nothing.
select i.indrelid as relation, c.relname as name, i.indisprimary as is_primary, i.indkey::text as numbers,
       i.indnkeyatts as width
from pg_index i
join pg_class c on c.oid = i.indexrelid
where i.indrelid = any ($1::oid[]) and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null

-- name: indexes
-- Indexes of the relations $1 that can be used. `numbers`: of columns, 0 for an expression; the first `width` of them are
-- looked for, the others stored with them; `options`: 1 for descending. What needs a lock is in `expressions`.
select i.indrelid as relation, c.relname as name, m.amname as method, i.indisunique as is_unique,
       i.indkey::text as numbers, i.indnkeyatts as width, i.indoption::text as options,
       i.indexprs is not null as has_expressions, i.indpred is not null as is_partial
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_am m on m.oid = c.relam
where i.indrelid = any ($1::oid[]) and i.indisvalid and i.indislive

-- name: foreign_keys
-- Foreign keys of the relations $1. One that refers to a partitioned table has a row for each partition as well, all
-- with a parent.
select k.conrelid as relation, k.conname as name, k.conkey::text[] as numbers,
       n.nspname as target_schema, c.relname as target_name,
       (
           select array_agg(a.attname::text order by f.position)
           from unnest(k.confkey) with ordinality f (number, position)
           join pg_attribute a on a.attrelid = k.confrelid and a.attnum = f.number
       ) as target_columns
from pg_constraint k
join pg_class c on c.oid = k.confrelid
join pg_namespace n on n.oid = c.relnamespace
where k.conrelid = any ($1::oid[]) and k.contype = 'f' and k.conparentid = 0

-- name: savepoint
-- Keeps the snapshot if `expressions` meets a lock.
savepoint expressions

-- name: rollback_to_savepoint
-- After a lock was met.
rollback to savepoint expressions

-- name: expressions
-- What cannot be had without a lock on the relations $1: `check` (name, expression), `generated` (column, expression),
-- `part` (its place in the index and the index, expression) and `predicate` (index, expression),
-- `updatable` (bits of INSERT 8, UPDATE 4, DELETE 16; with triggers and rules), which fails for views over `unusable`,
-- and `fixed` (numbers of a view's columns that cannot be changed, named `insert` where no trigger and no rule takes what
-- is inserted into them; the function that tells says so of every column of a view that takes no DELETE, so it is not
-- asked there).
with recursive unusable (oid) as (
    select f.ftrelid
    from pg_foreign_table f
    join pg_foreign_server s on s.oid = f.ftserver
    join pg_foreign_data_wrapper w on w.oid = s.srvfdw
    where w.fdwhandler = 0
    union
    select r.ev_class
    from unusable u
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = u.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
)
select k.conrelid as relation, 'check' as kind, k.conname::text as name, pg_get_expr(k.conbin, k.conrelid) as expression
from pg_constraint k
-- Since 18 a constraint may be NOT ENFORCED, which only rows of that version tell; then it is no rule.
where k.conrelid = any ($1::oid[]) and k.contype = 'c'
  and (k.convalidated or coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true))
union all
select a.attrelid, 'generated', a.attname::text, pg_get_expr(f.adbin, f.adrelid)
from pg_attrdef f
join pg_attribute a on a.attrelid = f.adrelid and a.attnum = f.adnum
where f.adrelid = any ($1::oid[]) and a.attgenerated <> ''
union all
select i.indrelid, 'part', n || ' ' || c.relname, coalesce(pg_get_indexdef(i.indexrelid, n, false), '')
from pg_index i
join pg_class c on c.oid = i.indexrelid, generate_series(1, i.indnkeyatts) n
where i.indrelid = any ($1::oid[]) and i.indexprs is not null and i.indkey[n - 1] = 0 and i.indisvalid and i.indislive
union all
select i.indrelid, 'predicate', c.relname::text, pg_get_expr(i.indpred, i.indrelid)
from pg_index i
join pg_class c on c.oid = i.indexrelid
where i.indrelid = any ($1::oid[]) and i.indpred is not null and i.indisvalid and i.indislive
union all
select c.oid, 'updatable', '', pg_relation_is_updatable(c.oid, true)::text
from pg_class c
where c.oid = any ($1::oid[]) and c.relkind in ('v', 'f') and c.oid not in (select u.oid from unusable u)
union all
select c.oid, 'fixed', case when exists (
    select from pg_trigger t where t.tgrelid = c.oid and t.tgtype & 68 = 68 -- INSTEAD OF INSERT
) or exists (
    select from pg_rewrite r where r.ev_class = c.oid and r.ev_type = '3' -- ON INSERT
) then '' else 'insert' end, coalesce(case when pg_relation_is_updatable(c.oid, true) & 20 = 20 then (
    select string_agg(a.attnum::text, ' ')
    from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not pg_column_is_updatable(c.oid, a.attnum, true)
) end, '')
from pg_class c
where c.oid = any ($1::oid[]) and c.relkind = 'v' and c.oid not in (select u.oid from unusable u)

-- name: identity
-- Which relation has the name $2 in the schema $1 now, and what its columns are; `build.identity_text` says the same.
-- Asked inside of the transaction of a call, whose lock on the relation keeps it from changing; under any search path.
-- Second, what that transaction is known by, as `mark` in outcome.sql has it.
select pg_catalog.concat(c.oid, ' ', pg_catalog.string_agg(
    pg_catalog.concat_ws(':', a.attnum, a.attname, a.atttypid, a.atttypmod), ',' order by a.attnum)),
    case when pg_catalog.pg_current_xact_id_if_assigned() is not null then pg_catalog.json_build_array(
        pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text,
        pg_catalog.pg_postmaster_start_time(), pg_catalog.statement_timestamp())::pg_catalog.text end
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname = $1::pg_catalog.text and c.relname = $2::pg_catalog.text
  -- A transaction with a snapshot of its own (REPEATABLE READ) sees the names of then, and its statements those of now.
  and c.oid = pg_catalog.to_regclass(pg_catalog.format('%I.%I', $1::pg_catalog.text, $2::pg_catalog.text))
group by c.oid

-- name: locked
-- Relations that another session has locked against everybody, or waits to lock, and the views over them.
with recursive locked (oid) as (
    select l.relation
    from pg_locks l
    where l.mode = 'AccessExclusiveLock' and l.relation is not null and l.pid <> pg_backend_pid()
      and l.database = (select b.oid from pg_database b where b.datname = current_database())
    union
    select r.ev_class
    from locked k
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = k.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite r on r.oid = d.objid
)
select oid from locked

-- name: excess
-- Rights of the role, or of one that it may become by SET ROLE, that a server of callers should not have. A superuser
-- has all of them.
select distinct r.word
from pg_catalog.pg_roles m
cross join lateral (values
    ('SUPERUSER', m.rolsuper),
    ('BYPASSRLS', m.rolbypassrls),
    ('REPLICATION', m.rolreplication),
    ('CREATEROLE', m.rolcreaterole),
    (m.rolname::pg_catalog.text,
     m.rolname in ('pg_write_server_files', 'pg_execute_server_program', 'pg_read_server_files'))
) as r (word, held)
where r.held and case
    when (select u.rolsuper from pg_catalog.pg_roles u where u.rolname = current_user)
    then m.rolname = current_user and r.word = 'SUPERUSER'
    else pg_catalog.pg_has_role(m.oid, 'MEMBER')
end
order by r.word
