"Everything setuptools asks for, read from `settings.ini`."

from configparser import ConfigParser
from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
LICENSES = {"apache2": "Apache-2.0"}
STATUS = {"1": "Planning", "2": "Pre-Alpha", "3": "Alpha", "4": "Beta", "5": "Production/Stable"}


def minors(first: str, last: str) -> list[str]:
    "Every Python from `first` to `last`: 3.11 to 3.13 is 3.11, 3.12, 3.13."
    major, low = first.split(".")
    return [f"{major}.{minor}" for minor in range(int(low), int(last.split(".")[1]) + 1)]


config = ConfigParser(delimiters=["="])
config.read(HERE / "settings.ini", encoding="utf-8")
told = config["DEFAULT"]
pythons = minors(told["min_python"], told["max_python"])
next_python = f"3.{int(pythons[-1].split('.')[1]) + 1}"
readme = HERE / "README.md"
work = TemporaryDirectory(prefix="lstm_market_build_")

setup(
    name=told["lib_name"],
    version=told["version"],
    description=told["description"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else told["description"],
    long_description_content_type="text/markdown",
    author=told["author"],
    author_email=told["author_email"],
    url=told["git_url"],
    keywords=told["keywords"].split(),
    license_expression=LICENSES[told["license"]],
    classifiers=[
        f"Development Status :: {told['status']} - {STATUS[told['status']]}",
        f"Intended Audience :: {told['audience']}",
        f"Natural Language :: {told['language']}",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: {python}" for python in pythons),
    ],
    python_requires=f">={pythons[0]},<{next_python}",
    packages=find_packages(str(HERE), include=["lstm_market", "lstm_market.*"]),
    include_package_data=False,
    install_requires=told["requirements"].split(),
    extras_require={
        key.removesuffix("_requirements"): names.split()
        for key, names in told.items()
        if key.endswith("_requirements")
    },
    entry_points={"console_scripts": told["console_scripts"].split()},
    zip_safe=False,
    options={"build": {"build_base": work.name}},
)
