-- What the portable reader asks: ISO/IEC 9075-11 views and columns only (and `domain_default`), without parameters, so
-- that any engine with an information_schema can answer.

-- name: tables
-- One row a relation; whether it takes rows, and a view changes and deletes (both), by itself or by a trigger.
select t.table_schema, t.table_name, t.table_type, t.is_insertable_into, v.is_trigger_insertable_into,
       v.is_updatable, v.is_trigger_updatable, v.is_trigger_deletable
from information_schema.tables t
left join information_schema.views v on v.table_schema = t.table_schema and v.table_name = t.table_name
where t.table_schema not in ('information_schema', 'pg_catalog')

-- name: columns
-- One row a column, in order.
select c.table_schema, c.table_name, c.column_name, c.is_nullable, c.column_default, c.is_identity,
       c.identity_generation, c.is_generated, c.generation_expression, c.data_type, c.character_maximum_length,
       c.numeric_precision, c.numeric_scale, c.datetime_precision, c.interval_type, c.domain_schema, c.domain_name,
       c.udt_schema, c.udt_name, c.dtd_identifier, c.is_updatable
from information_schema.columns c
where c.table_schema not in ('information_schema', 'pg_catalog')
order by c.table_schema, c.table_name, c.ordinal_position

-- name: domains
-- One row a domain, its base type in the words of `columns`.
select d.domain_schema, d.domain_name, d.domain_default, d.data_type, d.character_maximum_length, d.numeric_precision,
       d.numeric_scale, d.datetime_precision, d.interval_type, d.udt_schema, d.udt_name, d.dtd_identifier
from information_schema.domains d

-- name: element_types
-- What arrays are made of: of a column (object_type TABLE) or of a domain (DOMAIN).
select e.object_schema, e.object_name, e.object_type, e.collection_type_identifier, e.data_type,
       e.udt_schema, e.udt_name
from information_schema.element_types e
where e.object_type in ('TABLE', 'DOMAIN') and e.object_schema not in ('information_schema', 'pg_catalog')

-- name: constraints
-- One row a constraint of a table. A check that is not enforced is no rule.
select k.constraint_schema, k.constraint_name, k.constraint_type, k.table_schema, k.table_name
from information_schema.table_constraints k
where k.table_schema not in ('information_schema', 'pg_catalog')
  and (k.constraint_type <> 'CHECK' or k.enforced = 'YES')

-- name: domain_constraints
-- One row a constraint of a domain.
select k.constraint_schema, k.constraint_name, k.domain_schema, k.domain_name
from information_schema.domain_constraints k
where k.domain_schema not in ('information_schema', 'pg_catalog')

-- name: key_columns
-- The columns of primary, unique and foreign keys, in order.
select u.constraint_schema, u.constraint_name, u.table_schema, u.table_name, u.column_name,
       u.position_in_unique_constraint
from information_schema.key_column_usage u
where u.table_schema not in ('information_schema', 'pg_catalog')
order by u.ordinal_position

-- name: references
-- Which key a foreign key refers to, by name.
select r.constraint_schema, r.constraint_name, r.unique_constraint_schema, r.unique_constraint_name
from information_schema.referential_constraints r

-- name: checks
-- The condition of each check, by name.
select k.constraint_schema, k.constraint_name, k.check_clause
from information_schema.check_constraints k
where k.constraint_schema not in ('information_schema', 'pg_catalog')

-- name: table_privileges
-- What the role may do with a whole relation.
select p.table_schema, p.table_name, p.privilege_type
from information_schema.table_privileges p
where p.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  and p.table_schema not in ('information_schema', 'pg_catalog')
  and (p.grantee = 'PUBLIC' or p.grantee in (select r.role_name from information_schema.enabled_roles r))

-- name: column_privileges
-- What the role may do with one column and not with the whole relation.
select p.table_schema, p.table_name, p.column_name, p.privilege_type
from information_schema.column_privileges p
where p.privilege_type in ('SELECT', 'INSERT', 'UPDATE')
  and p.table_schema not in ('information_schema', 'pg_catalog')
  and (p.grantee = 'PUBLIC' or p.grantee in (select r.role_name from information_schema.enabled_roles r))
  and not exists (
      select 1
      from information_schema.table_privileges t
      where t.table_schema = p.table_schema and t.table_name = p.table_name and t.privilege_type = p.privilege_type
        and (t.grantee = 'PUBLIC' or t.grantee in (select r.role_name from information_schema.enabled_roles r))
  )
