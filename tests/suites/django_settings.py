"""Django's settings for its own tests, and a runner that writes "passed<TAB>test" lines into the file OUTCOMES names."""
import os
import unittest

from django.test.runner import DiscoverRunner


def database(name):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "HOST": "localhost",
        "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["PGPASSWORD"],
        "OPTIONS": {"server_side_binding": os.environ["BINDING"] == "1"},
    }


DATABASES = {"default": database("django"), "other": database("django_other")}
SECRET_KEY = "for tests alone"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "django_settings.Runner"


class Result(unittest.TextTestResult):
    outcomes = {}

    def note(self, test, outcome):
        name = test.id()
        if self.outcomes.get(name) != "failed":
            self.outcomes[name] = outcome

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test, "passed")

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.note(test, "passed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped")

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, "failed")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, "failed")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.note(test, "failed")

    def stopTestRun(self):
        super().stopTestRun()
        with open(os.environ["OUTCOMES"], "w") as file:
            file.writelines(f"{outcome}\t{test}\n" for test, outcome in sorted(self.outcomes.items()))


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return Result
