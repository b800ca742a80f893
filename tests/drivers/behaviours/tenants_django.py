"""Django 5.2 on tables of many tenants, written as Django programs are: a key of its own for each row, the tenant beside it;
and a table with a composite primary key. Usage: tenants_django.py BINDING, 1 for parameters bound by the server.

It connects as libpq's environment says. What begins with wide_ names no tenant, and may be refused where tenants are on several
servers. A tenant is named by a filter, or by pgshunt.tenant, as a middleware would set it: to PostgreSQL that is any setting.
"""
import contextlib
import os
import sys
import uuid
from decimal import Decimal

import django
from django.conf import settings

from base import behaviour, behaviours, one_line, told

settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"], "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["PGPASSWORD"], "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
        "OPTIONS": {"server_side_binding": sys.argv[1] == "1"},
    }},
    INSTALLED_APPS=["django.contrib.contenttypes"], USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import IntegrityError, connection, models, transaction  # noqa: E402
from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Prefetch, Q, Subquery, Sum, Window  # noqa: E402
from django.db.models.functions import Rank, TruncMonth  # noqa: E402


def key(*parts):
    return uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, parts)))


class Currency(models.Model):
    code = models.CharField(max_length=3, primary_key=True)
    name = models.TextField()

    class Meta:
        app_label, db_table = "shop", "currency"


class Customer(models.Model):
    id = models.UUIDField(primary_key=True)
    tenant_id = models.BigIntegerField()
    name = models.CharField(max_length=50)
    balance = models.DecimalField(max_digits=12, decimal_places=2, default=0)

    class Meta:
        app_label, db_table = "shop", "customer"
        indexes = [models.Index(fields=["tenant_id", "name"], name="customer_name")]


class Order(models.Model):
    id = models.UUIDField(primary_key=True)
    tenant_id = models.BigIntegerField()
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    currency = models.ForeignKey(Currency, models.PROTECT)
    number = models.IntegerField()
    day = models.DateField()
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    more = models.JSONField(default=dict)

    class Meta:
        app_label, db_table = "shop", "orders"
        constraints = [models.UniqueConstraint(fields=["tenant_id", "number"], name="orders_number")]


class Setting(models.Model):
    pk = models.CompositePrimaryKey("tenant_id", "name")
    tenant_id = models.BigIntegerField()
    name = models.CharField(max_length=20)
    value = models.TextField()

    class Meta:
        app_label, db_table = "shop", "setting"


MODELS = (Currency, Customer, Order, Setting)


def order(tenant, customer, number):
    return Order(id=key("order", tenant, number), tenant_id=tenant, customer_id=key("customer", tenant, customer), number=number,
                 currency_id=["EUR", "USD"][number % 2], day=f"2024-0{1 + number % 6}-15", more={"n": number, "list": [1, None]},
                 amount=Decimal(tenant * 100 + number * 7) / 4)


def customers(tenant):
    return Customer.objects.filter(tenant_id=tenant)


def orders(tenant):
    return Order.objects.filter(tenant_id=tenant)


@contextlib.contextmanager
def as_tenant(tenant):
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('pgshunt.tenant', %s, false)", [str(tenant)])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET pgshunt.tenant")


@behaviour
def migrate():
    call_command("migrate", verbosity=0)
    call_command("migrate", verbosity=0)
    return sorted(name for name in connection.introspection.table_names() if name.startswith("django_"))


@behaviour
def create_models():
    with connection.schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)
    return sorted(connection.introspection.table_names())


@behaviour
def create_reference():
    Currency.objects.bulk_create([Currency(code="EUR", name="Euro"), Currency(code="USD", name="Dollar")])
    return list(Currency.objects.order_by("code").values_list("name", flat=True))


@behaviour
def create():
    for tenant in range(1, 9):
        for number in range(1, 4):
            Customer.objects.create(id=key("customer", tenant, number), tenant_id=tenant, name=f"customer {number}")
    return Customer.objects.count()


@behaviour
def bulk_create_of_one_tenant():
    return len(Order.objects.bulk_create([order(3, 1 + n % 3, n) for n in range(40)]))


@behaviour
def bulk_create_of_many_tenants():
    Order.objects.bulk_create([order(tenant, 1 + n % 3, n) for n in range(30) for tenant in (1, 2, 4, 5, 6, 7, 8)])
    return Order.objects.count()


@behaviour
def get():
    customer = customers(3).get(name="customer 2")
    return customer.pk == key("customer", 3, 2), customer.balance


@behaviour
def get_by_key_alone():
    return Customer.objects.get(pk=key("customer", 5, 1)).tenant_id


@behaviour
def does_not_exist():
    try:
        customers(3).get(name="nobody")
    except Customer.DoesNotExist as error:
        return error


@behaviour
def save():
    customer = customers(4).get(name="customer 1")
    customer.name, customer.balance = "changed", Decimal("9.99")
    with as_tenant(4):
        customer.save()
    return list(customers(4).order_by("name").values_list("name", "balance"))


@behaviour
def wide_save():
    Customer.objects.get(name="changed").save()
    return customers(4).get(name="changed").balance


@behaviour
def save_some_fields():
    customer = customers(4).get(name="customer 2")
    customer.balance = 2
    customer.save(update_fields=["balance"])
    return customers(4).get(name="customer 2").balance


@behaviour
def refresh():
    customer = customers(4).get(name="changed")
    customers(4).filter(pk=customer.pk).update(balance=F("balance") + 1)
    customer.refresh_from_db()
    return customer.balance


@behaviour
def select_related():
    with as_tenant(3):
        seen = orders(3).select_related("customer", "currency").order_by("number")[:4]
        return [(each.number, each.customer.name, each.currency.name, each.more) for each in seen]


@behaviour
def select_related_by_tenant():
    seen = orders(3).filter(customer__tenant_id=3).select_related("customer", "currency").order_by("number")[:4]
    return [(each.number, each.customer.name, each.currency.name, each.more) for each in seen]


@behaviour
def wide_select_related():
    return [(each.number, each.customer.name) for each in orders(3).select_related("customer").order_by("number")[:4]]


@behaviour
def prefetch_related():
    inner = Prefetch("orders", orders(3).order_by("number"))
    return [(each.name, [one.number for one in each.orders.all()]) for each in customers(3).order_by("name").prefetch_related(inner)]


@behaviour
def prefetch_without_tenant():
    seen = customers(6).order_by("name").prefetch_related("orders")
    return [(each.name, sorted(one.number for one in each.orders.all())) for each in seen]


@behaviour
def filters():
    later = orders(3).filter(customer=OuterRef("pk"), amount__gt=100)
    return (customers(3).filter(orders__amount__gt=140).distinct().count(), customers(3).filter(Exists(later)).count(),
            orders(3).filter(Q(number__lt=3) | Q(more__n=9)).count(), orders(3).exclude(currency__name="Euro").count(),
            orders(3).filter(day__year=2024, day__month__in=[1, 2]).exists())


@behaviour
def aggregates():
    return orders(3).aggregate(Sum("amount"), Avg("amount"), Max("day"), Count("customer", distinct=True))


@behaviour
def annotations():
    seen = customers(3).annotate(count=Count("orders"), total=Sum("orders__amount")).order_by("name")
    return list(seen.values_list("name", "count", "total"))


@behaviour
def subqueries():
    last = orders(3).filter(customer=OuterRef("pk")).order_by("-number")
    return list(customers(3).annotate(last=Subquery(last.values("number")[:1])).order_by("name").values_list("name", "last"))


@behaviour
def windows():
    place = Window(Rank(), partition_by="customer", order_by=F("amount").desc())
    return list(orders(3).annotate(place=place).filter(number__lt=9).order_by("number").values_list("number", "place"))


@behaviour
def get_or_create():
    defaults = {"id": key("customer", 2, 9)}
    return [customers(2).get_or_create(tenant_id=2, name="ninth", defaults=defaults)[1] for _ in range(2)]


@behaviour
def update_or_create():
    seen = [Customer.objects.update_or_create(tenant_id=2, name="ninth", defaults={"balance": n})[0].balance for n in (7, 8)]
    return seen, customers(2).get(name="ninth").balance


@behaviour
def bulk_update():
    changed = list(orders(5).order_by("number")[:10])
    for each in changed:
        each.amount += 1
    return orders(5).bulk_update(changed, ["amount"]), orders(5).aggregate(Sum("amount"))


@behaviour
def upsert():
    rows = [Setting(tenant_id=tenant, name="theme", value="dark") for tenant in range(1, 9)]
    Setting.objects.bulk_create(rows)
    rows[2].value = "light"
    Setting.objects.bulk_create(rows[2:3], update_conflicts=True, unique_fields=["tenant_id", "name"], update_fields=["value"])
    return sorted(Setting.objects.values_list("tenant_id", "value"))


@behaviour
def composite_key():
    one = Setting.objects.get(pk=(3, "theme"))
    one.value = "blue"
    one.save()
    Setting.objects.get(pk=(4, "theme")).delete()
    return sorted(Setting.objects.filter(pk__in=[(3, "theme"), (4, "theme"), (5, "theme")]).values_list("tenant_id", "value"))


@behaviour
def atomic():
    try:
        with transaction.atomic():
            Customer.objects.create(id=key("lost"), tenant_id=2, name="lost")
            customers(2).filter(name="customer 1").update(name="lost")
            raise ValueError
    except ValueError:
        return customers(2).filter(name="lost").count()


@behaviour
def atomic_of_many_tenants():
    with transaction.atomic():
        for tenant in (1, 2, 3):
            customers(tenant).filter(name="customer 3").update(name="renamed")
    try:
        with transaction.atomic():
            for tenant in (1, 2, 3):
                customers(tenant).filter(name="renamed").update(name="lost")
            raise ValueError
    except ValueError:
        return Customer.objects.filter(name="renamed").count(), Customer.objects.filter(name="lost").count()


@behaviour
def savepoints():
    with transaction.atomic():
        Customer.objects.create(id=key("kept"), tenant_id=1, name="kept")
        try:
            with transaction.atomic():
                duplicate = order(3, 1, 100)
                duplicate.number = 1
                duplicate.save(force_insert=True)
        except IntegrityError as error:
            seen = told(error.__cause__)
        Customer.objects.create(id=key("kept too"), tenant_id=4, name="kept")
    return seen, Customer.objects.filter(name="kept").count()


@behaviour
def foreign_key():
    try:
        with transaction.atomic():
            order(3, 77, 200).save(force_insert=True)
    except IntegrityError as error:
        return told(error.__cause__)


@behaviour
def select_for_update():
    with transaction.atomic():
        locked = customers(6).select_for_update().get(name="customer 1")
        locked.balance += 5
        locked.save(update_fields=["balance"])
    return customers(6).get(name="customer 1").balance


@behaviour
def iterator():
    return sum(each.number for each in orders(7).iterator(chunk_size=7))


@behaviour
def on_commit():
    seen = []
    with transaction.atomic():
        customers(6).update(balance=1)
        transaction.on_commit(lambda: seen.append(customers(6).filter(balance=1).count()))
    return seen


@behaviour
def update_of_all():
    return Customer.objects.filter(name="customer 2").update(balance=F("balance") + 2)


@behaviour
def delete_with_cascade():
    return customers(7).get(name="customer 2").delete(), orders(7).count()


@behaviour
def delete_of_all():
    return Order.objects.filter(number=29).delete()[0]


@behaviour
def with_the_tenant_set():
    with as_tenant(8):
        one = Customer.objects.get(pk=key("customer", 8, 1))
        one.name = "of eight"
        one.save()
        Order.objects.filter(customer=one, number=3).update(amount=1)
        return one.name, Order.objects.filter(customer=one).aggregate(Sum("amount")), Customer.objects.get(orders__number=3,
            orders__tenant_id=8).name


@behaviour
def wide_totals():
    return Order.objects.aggregate(Count("pk"), Sum("amount"), Avg("amount"), Max("day"))


@behaviour
def wide_by_tenant():
    return list(Order.objects.values("tenant_id").annotate(n=Count("pk"), total=Sum("amount")).order_by("tenant_id")
                .values_list("tenant_id", "n", "total"))


@behaviour
def wide_by_month():
    return list(Order.objects.annotate(month=TruncMonth("day")).values("month").annotate(total=Sum("amount")).order_by("month")
                .values_list("month", "total"))


@behaviour
def wide_join():
    return list(Order.objects.values_list("currency__name").annotate(total=Sum("amount")).order_by("currency__name"))


@behaviour
def wide_join_on_the_own_key():
    return list(Customer.objects.annotate(n=Count("orders")).order_by("tenant_id", "name").values_list("tenant_id", "name", "n")[:9])


@behaviour
def wide_page():
    return list(Order.objects.order_by("-amount", "tenant_id")[3:8].values_list("tenant_id", "number"))


@behaviour
def wide_distinct():
    return sorted(Customer.objects.values_list("name", flat=True).distinct())


@behaviour
def wide_exists():
    return Order.objects.filter(amount__gt=200).exists(), Order.objects.filter(amount__gt=20000).exists()


@behaviour
def wide_in_bulk():
    return sorted(each.name for each in Customer.objects.in_bulk([key("customer", n, 1) for n in range(1, 5)]).values())


@behaviour
def wide_iterator():
    return sum(each.number for each in Order.objects.iterator(chunk_size=50))


@behaviour
def add_field():
    field = models.TextField(default="none")
    field.set_attributes_from_name("note")
    with connection.schema_editor() as editor:
        editor.add_field(Customer, field)
    with connection.cursor() as cursor:
        cursor.execute("SELECT note, count(*) FROM customer GROUP BY note")
        return cursor.fetchall()


@behaviour
def introspection():
    with connection.cursor() as cursor:
        return sorted(connection.introspection.get_constraints(cursor, "setting").items())


@behaviour
def drop_models():
    with connection.schema_editor() as editor:
        for model in reversed(MODELS):
            editor.delete_model(model)
    return [name for name in connection.introspection.table_names() if not name.startswith("django_")]


for each in behaviours:
    try:
        print(f"{each.__name__}: {one_line(each())}", flush=True)
    except Exception as error:
        print(f"{each.__name__}: error {one_line(told(error.__cause__ or error))}", flush=True)
    connection.close()
