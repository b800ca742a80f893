"""SQLAlchemy 2: its pool, its ORM and its dialects over psycopg 3 and psycopg2. Usage: sqlalchemy_.py DRIVER

It connects as libpq's environment says.
"""
import sys
import uuid
from datetime import datetime, timezone
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg

from base import behaviour, failing, one_line, behaviours, told

driver = sys.argv[1]
url = sa.URL.create(f"postgresql+{driver}")
engine = sa.create_engine(url, pool_size=3)


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    key: orm.Mapped[uuid.UUID] = orm.mapped_column(default=lambda: uuid.UUID(int=9))
    fee: orm.Mapped[Decimal] = orm.mapped_column(sa.Numeric(12, 2), default=Decimal("1.50"))
    tags: orm.Mapped[list] = orm.mapped_column(pg.ARRAY(sa.Text), default=lambda: ["a", "b"])
    more: orm.Mapped[dict] = orm.mapped_column(pg.JSONB, default=lambda: {"k": [1, None]})
    since: orm.Mapped[datetime] = orm.mapped_column(
        sa.DateTime(timezone=True), default=lambda: datetime(2024, 2, 29, tzinfo=timezone.utc))
    books: orm.Mapped[list["Book"]] = orm.relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "book"
    id: orm.Mapped[int] = orm.mapped_column(sa.Identity(), primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column(unique=True)
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("author.id"))
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")


def told_shortly(function, *arguments):
    return failing(function, *arguments).split(":")[0]


@behaviour
def create_all(c):
    Base.metadata.create_all(engine)
    return sorted(sa.inspect(engine).get_table_names())


@behaviour
def version(c):
    return c.dialect.server_version_info[0], c.dialect.default_schema_name, c.dialect.driver


@behaviour
def orm_insert(c):
    with orm.Session(engine) as session:
        session.add_all([Author(name=f"author {n}", books=[Book(title=f"book {n}.{m}") for m in range(3)]) for n in range(40)])
        session.commit()
        return session.scalar(sa.select(sa.func.count()).select_from(Book))


@behaviour
def orm_read(c):
    with orm.Session(engine) as session:
        author = session.scalars(sa.select(Author).order_by(Author.id).options(orm.selectinload(Author.books))).first()
        return author.name, author.key, author.fee, author.tags, author.more, author.since.astimezone(timezone.utc), \
            [book.title for book in author.books]


@behaviour
def orm_update_delete(c):
    with orm.Session(engine) as session:
        author = session.get(Author, 1)
        author.name = "changed"
        session.delete(author.books[0])
        session.commit()
        return session.get(Author, 1).name, len(author.books)


@behaviour
def orm_unique(c):
    with orm.Session(engine) as session:
        session.add(Book(title="book 2.1", author_id=1))
        seen = told(failing_flush(session))
        session.rollback()
        return seen, session.scalar(sa.select(sa.func.count()).select_from(Author))


def failing_flush(session):
    try:
        session.flush()
    except Exception as error:
        return error
    return ValueError("no error")


@behaviour
def nested(c):
    with orm.Session(engine) as session:
        try:
            with session.begin_nested():
                session.execute(sa.text("SET LOCAL work_mem = '7MB'"))
                session.add(Book(title="book 2.1", author_id=1))
        except sa.exc.IntegrityError:
            pass
        session.add(Book(title="after", author_id=1))
        session.commit()
        return session.scalar(sa.text("SHOW work_mem"))


@behaviour
def upsert(c):
    statement = pg.insert(Book).values(title="after", author_id=1)
    statement = statement.on_conflict_do_update(index_elements=["title"], set_={"author_id": 2}).returning(Book.author_id)
    with engine.begin() as connection:
        return connection.scalar(statement)


@behaviour
def insert_many(c):
    with engine.begin() as connection:
        seen = connection.scalars(sa.insert(Book).returning(Book.title, sort_by_parameter_order=True),
                                  [{"title": f"many {n}", "author_id": 3} for n in range(2500)]).all()
    return len(seen), seen[:2]


@behaviour
def stream(c):
    with engine.connect() as connection:
        result = connection.execution_options(stream_results=True, max_row_buffer=50).execute(
            sa.text("SELECT generate_series(1, 1000)"))
        return sum(row[0] for row in result)


@behaviour
def expanding(c):
    return c.execute(sa.select(Book.title).where(Book.id.in_([4, 5, 6])).order_by(Book.id)).scalars().all()


@behaviour
def isolation(c):
    seen = []
    for level in ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED", "AUTOCOMMIT"):
        with engine.connect().execution_options(isolation_level=level) as connection:
            seen.append(connection.scalar(sa.text("SHOW transaction_isolation")))
    return seen


@behaviour
def read_only(c):
    with engine.connect().execution_options(postgresql_readonly=True) as connection:
        return told_shortly(connection.execute, sa.text("CREATE TABLE never (a int)"))


@behaviour
def two_phase(c):
    with engine.connect() as connection:
        transaction = connection.begin_twophase("behaviours")
        connection.execute(sa.text("SELECT 1"))
        return told_shortly(transaction.prepare)


@behaviour
def error_in_transaction(c):
    seen = [told_shortly(c.execute, sa.text("SELECT 1 / 0")), told_shortly(c.execute, sa.text("SELECT 1"))]
    c.rollback()
    return seen + [c.scalar(sa.text("SELECT 2"))]


@behaviour
def temp_table(c):
    mine = sa.Table("mine", sa.MetaData(), sa.Column("a", sa.Integer), prefixes=["TEMPORARY"])
    mine.create(c)
    c.execute(mine.insert(), [{"a": 1}, {"a": 2}])
    c.commit()
    with engine.connect() as other:
        stranger = told_shortly(other.execute, mine.select())
    return c.execute(mine.select()).scalars().all(), stranger


@behaviour
def settings(c):
    c.execute(sa.text("SET search_path TO pg_catalog"))
    c.commit()
    seen = c.scalar(sa.text("SHOW search_path"))
    c.execute(sa.text("RESET search_path"))
    c.commit()
    return seen, c.scalar(sa.text("SHOW search_path"))


@behaviour
def sequence(c):
    return c.scalar(sa.select(sa.func.pg_get_serial_sequence("author", "id"))), c.scalar(sa.text("SELECT max(id) FROM author"))


@behaviour
def reflection(c):
    metadata = sa.MetaData()
    metadata.reflect(engine)
    return [(table.name, [f"{column.name} {column.type}" for column in table.columns],
             [key.target_fullname for key in table.foreign_keys]) for table in metadata.sorted_tables]


@behaviour
def schema_change(c):
    seen = [len(c.execute(sa.text("SELECT * FROM book LIMIT 1")).one()) for _ in range(7)]
    c.commit()
    with engine.begin() as other:
        other.execute(sa.text("ALTER TABLE book ADD pages int"))
    try:
        seen.append(len(c.execute(sa.text("SELECT * FROM book LIMIT 1")).one()))
    except sa.exc.DBAPIError as error:
        seen.append(told(error))
    c.rollback()
    return seen


@behaviour
def pool_rollback(c):
    with engine.connect() as connection:
        connection.execute(sa.text("INSERT INTO author (name, key, fee, tags, more, since) SELECT 'lost', key, fee, tags, more,"
                                   " since FROM author LIMIT 1"))
    return c.scalar(sa.text("SELECT count(*) FROM author WHERE name = 'lost'"))


@behaviour
def dispose(c):
    engine.dispose()
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT 'again'"))


@behaviour
def drop_all(c):
    Base.metadata.drop_all(engine)
    return sa.inspect(engine).get_table_names()


for each in behaviours:
    with engine.connect() as connection:
        try:
            print(f"{each.__name__}: {one_line(each(connection))}", flush=True)
        except Exception as error:
            print(f"{each.__name__}: error {one_line(told(error))}", flush=True)
engine.dispose()
