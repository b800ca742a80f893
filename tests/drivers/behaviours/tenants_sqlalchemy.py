"""SQLAlchemy 2 on tables of many tenants: units of work of one tenant and of several, and reports over all of them.
Usage: tenants_sqlalchemy.py DRIVER

It connects as libpq's environment says. What begins with wide_ names no tenant, and may be refused where tenants are
on several servers.
"""
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg

from base import behaviour, behaviours, one_line, told

engine = sa.create_engine(sa.URL.create(f"postgresql+{sys.argv[1]}"), pool_size=3)
TENANTS = range(1, 9)


class Base(orm.DeclarativeBase):
    pass


class Currency(Base):
    __tablename__ = "currency"
    code: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]


class Customer(Base):
    __tablename__ = "customer"
    tenant_id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    name: orm.Mapped[str]
    balance: orm.Mapped[Decimal] = orm.mapped_column(sa.Numeric(12, 2), default=Decimal("0.00"))
    since: orm.Mapped[datetime] = orm.mapped_column(sa.DateTime(timezone=True), server_default=sa.text("'2024-02-29 UTC'"))
    orders: orm.Mapped[list["Order"]] = orm.relationship(
        back_populates="customer", cascade="all, delete-orphan", order_by="Order.id")
    __table_args__ = (sa.Index("customer_name", "tenant_id", "name", unique=True),)


class Order(Base):
    __tablename__ = "orders"
    tenant_id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    customer_id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    day: orm.Mapped[date]
    amount: orm.Mapped[Decimal] = orm.mapped_column(sa.Numeric(12, 2))
    currency_code: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("currency.code"))
    tags: orm.Mapped[list] = orm.mapped_column(pg.ARRAY(sa.Text), default=lambda: ["a", "b"])
    more: orm.Mapped[dict] = orm.mapped_column(pg.JSONB, default=lambda: {"k": [1, None]})
    customer: orm.Mapped[Customer] = orm.relationship(back_populates="orders")
    currency: orm.Mapped[Currency] = orm.relationship()
    __table_args__ = (sa.ForeignKeyConstraint(["tenant_id", "customer_id"], ["customer.tenant_id", "customer.id"]),)


def order(tenant, number, **more):
    values = {"amount": Decimal(tenant * 100 + number * 7) / 4, "currency_code": ["EUR", "USD"][number % 2]}
    return Order(tenant_id=tenant, id=number, day=date(2024, 1, 1) + timedelta(days=number * 11), **(values | more))


def sorted_rows(rows):
    return sorted((tuple(row) for row in rows), key=repr)


@behaviour
def create_all(session):
    Base.metadata.create_all(engine)
    return sorted(sa.inspect(engine).get_table_names())


@behaviour
def create_all_again(session):
    Base.metadata.create_all(engine)
    return [sa.inspect(engine).has_table(name) for name in ("orders", "nowhere")]


@behaviour
def add_reference(session):
    session.add_all([Currency(code="EUR", name="Euro"), Currency(code="USD", name="Dollar")])
    session.commit()
    return session.scalars(sa.select(Currency.name).order_by(Currency.code)).all()


@behaviour
def add_one_tenant(session):
    for number in range(1, 4):
        customer = Customer(tenant_id=1, id=number, name=f"customer {number}")
        customer.orders = [order(1, number * 10 + n) for n in range(3)]
        session.add(customer)
    session.flush()
    seen = [customer.since.astimezone(timezone.utc) for customer in session.scalars(sa.select(Customer).filter_by(tenant_id=1))]
    session.commit()
    return len(seen), seen[0]


@behaviour
def add_many_tenants_in_one_unit_of_work(session):
    for tenant in TENANTS[1:]:
        customers = [Customer(tenant_id=tenant, id=n, name=f"customer {n}", balance=Decimal(n)) for n in range(1, 4)]
        for customer in customers:
            customer.orders = [order(tenant, customer.id * 10 + n) for n in range(tenant % 4)]
        session.add_all(customers)
    session.commit()
    return session.scalar(sa.select(sa.func.count()).select_from(Order)), session.scalar(sa.select(sa.func.count(Customer.id)))


@behaviour
def rolled_back(session):
    session.add(Customer(tenant_id=2, id=99, name="lost"))
    session.add(Customer(tenant_id=3, id=99, name="lost"))
    session.flush()
    session.rollback()
    return session.scalar(sa.select(sa.func.count()).select_from(Customer).where(Customer.name == "lost"))


@behaviour
def get_by_key(session):
    customer = session.get(Customer, (2, 1))
    return customer.name, customer.balance, session.get(Customer, (2, 77))


@behaviour
def lazy_load(session):
    customer = session.get(Customer, (3, 2))
    return [(each.id, each.amount, each.tags, each.more, each.currency.name, each.customer is customer) for each in customer.orders]


@behaviour
def joined_load(session):
    statement = sa.select(Customer).filter_by(tenant_id=3).order_by(Customer.id).options(
        orm.joinedload(Customer.orders).joinedload(Order.currency))
    return [(customer.id, [(each.id, each.currency.name) for each in customer.orders])
            for customer in session.scalars(statement).unique()]


@behaviour
def selectin_load(session):
    statement = sa.select(Customer).filter_by(tenant_id=6).order_by(Customer.id).options(orm.selectinload(Customer.orders))
    return [(customer.id, [each.id for each in customer.orders]) for customer in session.scalars(statement)]


@behaviour
def subquery_load(session):
    statement = sa.select(Customer).filter_by(tenant_id=6).order_by(Customer.id).options(orm.subqueryload(Customer.orders))
    return [(customer.id, [each.id for each in customer.orders]) for customer in session.scalars(statement)]


@behaviour
def joins(session):
    statement = sa.select(Customer.name, Order.id, Currency.name).join(Customer.orders).join(Order.currency).where(
        Customer.tenant_id == 7, Order.amount > 20).order_by(Order.id)
    return session.execute(statement).all()


@behaviour
def aliases_and_exists(session):
    other = orm.aliased(Order)
    later = sa.exists().where(other.tenant_id == Order.tenant_id, other.customer_id == Order.customer_id, other.id > Order.id)
    return session.scalars(sa.select(Order.id).where(Order.tenant_id == 7, later).order_by(Order.id)).all()


@behaviour
def cte_and_window(session):
    ranked = sa.select(Order.id, sa.func.row_number().over(
        partition_by=Order.customer_id, order_by=Order.amount.desc()).label("place")).where(Order.tenant_id == 7).cte("ranked")
    return session.execute(sa.select(ranked).where(ranked.c.place == 1).order_by(ranked.c.id)).all()


@behaviour
def update_in_session(session):
    customer = session.get(Customer, (4, 1))
    customer.name, customer.balance = "changed", Decimal("9.99")
    session.commit()
    return session.execute(sa.select(Customer.name, Customer.balance).where(Customer.tenant_id == 4).order_by(Customer.id)).all()


@behaviour
def update_two_tenants_in_session(session):
    for tenant in (2, 3):
        session.get(Customer, (tenant, 3)).name = f"renamed {tenant}"
    session.commit()
    return sorted_rows(session.execute(sa.select(Customer.tenant_id, Customer.name).where(Customer.name.like("renamed%"))))


@behaviour
def bulk_insert(session):
    rows = [{"tenant_id": tenant, "id": 1000 + n, "name": f"bulk {n}"} for n in range(150) for tenant in TENANTS]
    session.execute(sa.insert(Customer), rows)
    session.commit()
    return session.scalar(sa.select(sa.func.count()).select_from(Customer).where(Customer.id >= 1000))


@behaviour
def bulk_insert_returning(session):
    rows = [{"tenant_id": 5, "id": 2000 + n, "name": f"returned {n}"} for n in range(1500)]
    statement = sa.insert(Customer).returning(Customer.id, sort_by_parameter_order=True)
    seen = session.scalars(statement, rows).all()
    session.commit()
    return len(seen), seen[:3]


@behaviour
def bulk_update(session):
    session.execute(sa.update(Customer), [{"tenant_id": tenant, "id": 1000, "name": f"bulk updated {tenant}"} for tenant in TENANTS])
    session.commit()
    return sorted_rows(session.execute(sa.select(Customer.name).where(Customer.id == 1000)))


@behaviour
def update_where(session):
    one = session.execute(sa.update(Customer).where(Customer.tenant_id == 5, Customer.id >= 1000).values(
        balance=Customer.balance + 1), execution_options={"synchronize_session": False}).rowcount
    every = session.execute(sa.update(Customer).where(Customer.id >= 1100, Customer.id < 2000).values(
        balance=2), execution_options={"synchronize_session": False}).rowcount
    session.commit()
    return one, every


@behaviour
def delete_where(session):
    one = session.execute(sa.delete(Customer).where(Customer.tenant_id == 5, Customer.id >= 2000)).rowcount
    every = session.execute(sa.delete(Customer).where(Customer.id >= 1000)).rowcount
    session.commit()
    return one, every


@behaviour
def delete_with_cascade(session):
    session.delete(session.get(Customer, (7, 1)))
    session.commit()
    return session.scalar(sa.select(sa.func.count()).select_from(Order).where(Order.tenant_id == 7))


@behaviour
def upsert(session):
    statement = pg.insert(Customer).values(tenant_id=2, id=1, name="upserted")
    statement = statement.on_conflict_do_update(index_elements=["tenant_id", "id"], set_={"name": statement.excluded.name})
    seen = session.execute(statement.returning(Customer.name)).all()
    session.commit()
    return seen


@behaviour
def merge(session):
    session.merge(Customer(tenant_id=2, id=1, name="merged"))
    session.merge(Customer(tenant_id=2, id=50, name="merged too"))
    session.commit()
    return session.scalars(sa.select(Customer.name).filter_by(tenant_id=2).order_by(Customer.id)).all()


@behaviour
def unique(session):
    session.add(Customer(tenant_id=2, id=51, name="merged"))
    try:
        session.flush()
    except sa.exc.IntegrityError as error:
        seen = told(error)
    session.rollback()
    return seen, session.get(Customer, (2, 51))


@behaviour
def foreign_key(session):
    session.add(order(2, 900, customer_id=12345))
    try:
        session.flush()
    except sa.exc.IntegrityError as error:
        seen = told(error)
    session.rollback()
    return seen


@behaviour
def savepoints(session):
    session.add(Customer(tenant_id=6, id=60, name="kept"))
    session.flush()
    try:
        with session.begin_nested():
            session.add(Customer(tenant_id=8, id=60, name="dropped"))
            session.flush()
            session.execute(sa.text("SELECT 1 / 0"))
    except sa.exc.DataError:
        pass
    session.add(Customer(tenant_id=1, id=60, name="kept too"))
    session.commit()
    return sorted_rows(session.execute(sa.select(Customer.tenant_id, Customer.name).where(Customer.id == 60)))


@behaviour
def locked(session):
    customer = session.scalars(sa.select(Customer).filter_by(tenant_id=6, id=60).with_for_update()).one()
    customer.balance += 5
    session.commit()
    return customer.balance


@behaviour
def stale(session):
    count = session.execute(sa.update(Customer).where(Customer.tenant_id == 6, Customer.id == 61).values(name="x")).rowcount
    session.rollback()
    return count


@behaviour
def streamed(session):
    result = session.execute(sa.select(Order.id).where(Order.tenant_id == 7).order_by(Order.id).execution_options(yield_per=2))
    return [row[0] for row in result]


@behaviour
def tenant_of_the_session(session):
    session.execute(sa.text("SELECT set_config('pgshunt.tenant', '6', false)"))
    seen = session.scalar(sa.select(sa.func.count()).select_from(Customer).filter_by(tenant_id=6))
    session.execute(sa.text("RESET pgshunt.tenant"))
    session.commit()
    return seen


@behaviour
def wide_totals(session):
    return session.execute(sa.select(sa.func.count(), sa.func.sum(Order.amount), sa.func.avg(Order.amount),
                                     sa.func.min(Order.day), sa.func.max(Order.day))).one()


@behaviour
def wide_by_tenant(session):
    return session.execute(sa.select(Order.tenant_id, sa.func.count(), sa.func.sum(Order.amount)).group_by(
        Order.tenant_id).having(sa.func.count() > 2).order_by(Order.tenant_id)).all()


@behaviour
def wide_by_month(session):
    month = sa.func.date_trunc("month", Order.day).label("month")
    return session.execute(sa.select(month, sa.func.sum(Order.amount)).group_by(month).order_by(month)).all()


@behaviour
def wide_join(session):
    return session.execute(sa.select(Customer.name, Currency.name, sa.func.sum(Order.amount).label("total")).join(
        Customer.orders).join(Order.currency).group_by(Customer.name, Currency.name).order_by(
        sa.desc("total"), Customer.name, Currency.name).limit(5)).all()


@behaviour
def wide_page(session):
    return session.execute(sa.select(Order.tenant_id, Order.id).order_by(
        Order.amount.desc(), Order.tenant_id, Order.id).limit(4).offset(3)).all()


@behaviour
def wide_distinct(session):
    return session.scalars(sa.select(Customer.name).distinct().order_by(Customer.name)).all()


@behaviour
def wide_count_of_page(session):
    inner = sa.select(Order.id).where(Order.amount > 50).order_by(Order.id).subquery()
    return session.scalar(sa.select(sa.func.count()).select_from(inner))


@behaviour
def wide_exists(session):
    late = sa.exists().where(Order.tenant_id == Customer.tenant_id, Order.customer_id == Customer.id, Order.day > date(2024, 6, 1))
    return sorted_rows(session.execute(sa.select(Customer.tenant_id, Customer.id).where(late)))


@behaviour
def wide_window(session):
    total = sa.func.sum(Order.amount).over(partition_by=Order.currency_code, order_by=(Order.tenant_id, Order.id))
    return session.execute(sa.select(Order.tenant_id, Order.id, total).order_by(Order.tenant_id, Order.id)).all()


@behaviour
def wide_window_by_tenant(session):
    place = sa.func.rank().over(partition_by=Order.tenant_id, order_by=Order.amount.desc())
    return session.execute(sa.select(Order.tenant_id, Order.id, place).order_by(Order.tenant_id, Order.id)).all()


@behaviour
def wide_union(session):
    both = sa.union_all(sa.select(Order.id).where(Order.tenant_id == 1), sa.select(Order.id).where(Order.tenant_id == 2))
    return sorted_rows(session.execute(both))


@behaviour
def wide_loaded(session):
    statement = sa.select(Customer).where(Customer.id == 2).order_by(Customer.tenant_id).options(orm.selectinload(Customer.orders))
    return [(customer.tenant_id, [each.id for each in customer.orders]) for customer in session.scalars(statement)]


@behaviour
def wide_streamed(session):
    result = session.execute(sa.select(Order.id).order_by(Order.tenant_id, Order.id).execution_options(yield_per=2))
    return [row[0] for row in result]


@behaviour
def reflection(session):
    metadata = sa.MetaData()
    metadata.reflect(engine)
    return [(table.name, [f"{column.name} {column.type}" for column in table.columns],
             sorted(key.target_fullname for key in table.foreign_keys)) for table in metadata.sorted_tables]


@behaviour
def schema_change(session):
    session.execute(sa.text("ALTER TABLE customer ADD COLUMN note text DEFAULT 'none'"))
    session.commit()
    return session.execute(sa.text("SELECT note, count(*) FROM customer GROUP BY note")).all()


@behaviour
def drop_all(session):
    Base.metadata.drop_all(engine)
    return sa.inspect(engine).get_table_names()


for each in behaviours:
    with orm.Session(engine) as session:
        try:
            print(f"{each.__name__}: {one_line(each(session))}", flush=True)
        except Exception as error:
            session.rollback()
            print(f"{each.__name__}: error {one_line(told(error))}", flush=True)
engine.dispose()
